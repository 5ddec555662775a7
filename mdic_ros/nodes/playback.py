"""Where a replayed recording stands: recorded time that runs at a speed, stops and goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


class Playhead:
    """Recorded time, in nanoseconds, driven by a monotonic clock."""

    def __init__(self, start_ns: int, now: float) -> None:
        self.position_ns = start_ns
        self._now = now

    def move(self, now: float, rate: float, limit_ns: int) -> int:
        """Go on to `now` (seconds) at `rate` times the recorded speed (0: pause), but not past `limit_ns`.

        The limit is the stamp of the next frame: when publishing cannot keep up the recording plays slower,
        and nothing is skipped. Returns the new position.
        """
        elapsed_ns = max(0.0, now - self._now) * 1e9
        self._now = now
        self.position_ns = max(self.position_ns, min(limit_ns, self.position_ns + round(elapsed_ns * rate)))
        return self.position_ns


def offsets(stamps_ns: Sequence[int]) -> Iterator[int]:
    """What to add to all stamps in the first, second, ... round of a loop, so that time goes on evenly."""
    if len(stamps_ns) > 1:
        length = stamps_ns[-1] - stamps_ns[0]
        length += length // (len(stamps_ns) - 1)  # one mean period between the last frame and the first
    else:
        length = 100_000_000
    offset = 0
    while True:
        yield offset
        offset += length
