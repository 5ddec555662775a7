"""What the stamps of images say: which two belong together, how fast they come."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

#: Largest difference of the stamps of a pair in seconds.
DEFAULT_SLOP_S = 0.03


def nearest(stamps: Sequence[int], stamp: int, slop_ns: int) -> int | None:
    """Index of the entry of `stamps` (ascending) nearest to `stamp`, at most `slop_ns` away, or None.

    Of several that are equally near, the last one, as in `mdic_ros.stream.pairing`.
    """
    at = bisect.bisect_right(stamps, stamp)
    around = (stamps[i] for i in (at, at - 1) if 0 <= i < len(stamps))
    best = min(around, key=lambda other: abs(other - stamp), default=None)
    return bisect.bisect_right(stamps, best) - 1 if best is not None and abs(best - stamp) <= slop_ns else None


def pair_nearest(left: Sequence[int], right: Sequence[int], slop_ns: int) -> list[tuple[int, int]]:
    """Pairs (left index, right index) of two ascending lists of stamps, each entry in one pair at most.

    A pair is two stamps of which each is the other's nearest, at most `slop_ns` apart.
    """
    pairs = []
    for i, stamp in enumerate(left):
        j = nearest(right, stamp, slop_ns)
        if j is not None and nearest(left, right[j], slop_ns) == i:
            pairs.append((i, j))
    return pairs


def payload_kbps(sizes: Sequence[int], stamps: Sequence[int]) -> float:
    """kbit/s of packets (bytes) whose frames have these stamps (ns); NaN when the stamps tell no rate."""
    if len(stamps) < 2 or max(stamps) == min(stamps):
        return math.nan
    period_s = (max(stamps) - min(stamps)) / 1e9 / (len(stamps) - 1)
    return sum(sizes) / len(sizes) * 8 / 1000 / period_s
