"""Renders the sample drive: a short stereo run through a street that exists only as code."""
