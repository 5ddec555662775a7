"""The error of this package. An image that cannot be used is an `mdic_ros.errors.ImageError`."""

from __future__ import annotations

from mdic_ros.errors import MdicError


class DatasetError(MdicError):
    """A recording cannot be read or written as asked: missing, incomplete, damaged or ambiguous."""
