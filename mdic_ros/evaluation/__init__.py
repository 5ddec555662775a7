"""Figures that anyone can repeat: real bitstreams, decoded from their bytes, in the paper's protocol."""
