"""The errors of this package: all of them say which file is meant and what to do about it."""

from __future__ import annotations


class DatasetError(ValueError):
    """A recording cannot be read or written as asked: missing, incomplete, damaged or ambiguous."""


class ImageError(DatasetError):
    """One image cannot be used (damaged file, hostile message); the rest of the recording may be whole."""
