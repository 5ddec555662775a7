"""Whether stamps can tell the frames of a camera apart: one rule, for recordings and for streams."""

from __future__ import annotations

from collections.abc import Sequence

#: Share of the stamps that may be repetitions before none of them is trusted.
_REPEATED_SHARE = 0.1


def stamp_problem(stamps: Sequence[int]) -> str:
    """Why the stamps of one camera (ns, in any order) cannot tell its frames apart; empty if they can.

    A few that occur twice are no reason: those frames may find no partner, or a message came twice.

    Returns:
        "all zero", "partly zero", "repeated" or "": the end of a sentence that begins with "the stamps are".
    """
    repeated, zeros = repeats(stamps), sum(stamp == 0 for stamp in stamps)
    if repeated and zeros == len(stamps):
        return "all zero"
    if repeated <= max(1, _REPEATED_SHARE * len(stamps)):
        return ""
    return "partly zero" if 2 * (zeros - 1) >= repeated else "repeated"


def repeats(stamps: Sequence[int]) -> int:
    """How many stamps occurred before."""
    return len(stamps) - len(set(stamps))
