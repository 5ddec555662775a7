"""Times of the stages of one encode or decode."""

from __future__ import annotations

import time

import torch


class Clock:
    """Milliseconds between laps, with the device's work done."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._laps: dict[str, float] = {}
        self._start = self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Ends a stage: what has passed since the last lap is its time."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self._laps[name], self._last = 1e3 * (now - self._last), now

    def timings(self) -> dict[str, float]:
        """Milliseconds by stage, in their order, and "total"."""
        return {**self._laps, "total": 1e3 * (self._last - self._start)}
