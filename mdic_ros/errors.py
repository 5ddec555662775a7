"""The errors of this project. What a user can meet and mend is a `MdicError`; anything else is a bug and shows as one.

Commands and nodes report a `MdicError` in one sentence, which says what is wrong and what to do. A plain ValueError or
TypeError from our own code means that a caller broke a documented contract, and keeps its traceback.
"""

from __future__ import annotations


class MdicError(Exception):
    """Something that the user can mend: input, options, files, the other end of the link. The text says how."""


class ImageError(MdicError):
    """An image that cannot be used: damaged, of an unknown encoding, or of a shape or size that cannot be coded."""
