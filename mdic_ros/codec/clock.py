"""Times of the stages of one encode or decode."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Milliseconds between laps.

    Args:
        synchronize: waits until a device has done its work; None = there is nothing to wait for.
    """

    def __init__(self, synchronize: Callable[[], object] | None = None) -> None:
        self._synchronize = synchronize
        self._laps: dict[str, float] = {}
        self._start = self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Ends a stage: what has passed since the last lap is its time."""
        if self._synchronize:
            self._synchronize()
        now = time.perf_counter()
        self._laps[name], self._last = 1e3 * (now - self._last), now

    def timings(self) -> dict[str, float]:
        """Milliseconds by stage, in their order, and "total"."""
        return {**self._laps, "total": 1e3 * (self._last - self._start)}
