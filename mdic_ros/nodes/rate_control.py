"""Chooses the rate point of every frame so that three limits hold at once. Pure Python, no clock of its own.

- `rate_point`: the finest rate point to use,
- `max_bytes_per_frame`: no frame is larger,
- `target_bitrate_kbps`: in no window of `window_s` seconds are more bits sent, unless a single frame is larger.

The bit rate is kept by a token bucket that is refilled at the target rate and holds about two frames' share,
so that bits are spread evenly instead of being spent in a burst at the head of the window, and by the exact
sum over the window as a hard limit. Frames are first made coarser; when even the coarsest one is too dear,
frames are left out. Bits are those of the payload; DDS and UDP add about 212 bytes of their own to every
message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What the operator asks for; 0 (or -1 for `rate_point`) means no limit."""

    rate_point: int = -1
    max_bytes_per_frame: int = 0
    target_bitrate_kbps: float = 0.0
    window_s: float = 2.0


@dataclass(frozen=True)
class Choice:
    """The rate point to send, or None and the reason why the frame must be left out."""

    rate_point: int | None
    reason: str = ""


class RateController:
    """One per stream. Times are seconds on a monotonic clock and must not run backwards."""

    def __init__(self) -> None:
        self._sent: deque[tuple[float, int]] = deque()  # (time, bytes) inside the window
        self._sent_bytes = 0
        self._tokens = 0.0  # bytes that may be spent now
        self._last_time: float | None = None
        self._period_s = 0.1  # smoothed time between frames; the first guess matters for one frame

    def choose(self, sizes: Sequence[int], limits: Limits, now: float) -> Choice:
        """Pick the rate point for a frame that would cost `sizes[r]` bytes at rate point r (coarse to fine).

        The choice counts as sent. `reason` is `over_max_bytes` or `over_bitrate` when nothing fits.
        """
        finest = len(sizes) - 1
        if limits.rate_point >= 0:
            finest = min(finest, limits.rate_point)
        fitting = list(range(finest + 1))
        if limits.max_bytes_per_frame > 0:
            fitting = [r for r in fitting if sizes[r] <= limits.max_bytes_per_frame]
            if not fitting:
                return Choice(None, "over_max_bytes")
        allowance = self._allowance(sizes[0], limits, now)
        if allowance is not None:
            coarsest, finer = allowance
            fitting = [r for r in fitting if sizes[r] <= (finer if r else coarsest)]
            if not fitting:
                return Choice(None, "over_bitrate")
        # Sizes grow with the rate point but for freak cases; the finest one that fits is the last one.
        chosen = fitting[-1]
        self._spend(sizes[chosen], now)
        return Choice(chosen)

    def _allowance(self, coarsest: int, limits: Limits, now: float) -> tuple[float, float] | None:
        """Bytes that the bit rate allows for the coarsest point and for finer ones; None without a target."""
        elapsed = self._tick(now)
        self._forget(now - limits.window_s)
        if limits.target_bitrate_kbps <= 0:
            self._tokens = 0.0
            return None
        bytes_per_s = limits.target_bitrate_kbps * 1000 / 8
        share = bytes_per_s * self._period_s
        # Room for the coarsest frame plus one share: whatever the target, some frame can be paid for.
        capacity = max(2 * share, coarsest + share)
        self._tokens = min(self._tokens + bytes_per_s * elapsed, capacity)
        if not self._sent:
            return self._tokens, self._tokens  # a window too short for a frame must not silence the stream
        left = bytes_per_s * limits.window_s - self._sent_bytes
        # A finer frame leaves room for two coarse ones, so that quality gives way before the frame rate.
        return min(self._tokens, left), min(self._tokens, left - 2 * coarsest)

    def _tick(self, now: float) -> float:
        """Seconds since the last frame (the first frame gets one period's worth), smoothing the period."""
        if self._last_time is None:
            self._last_time = now
            return self._period_s
        elapsed = max(0.0, now - self._last_time)
        self._last_time = now
        # A pause says nothing about the frame rate: without the cap one long gap would let a burst through.
        self._period_s += 0.2 * (min(elapsed, 4 * self._period_s) - self._period_s)
        self._period_s = max(self._period_s, 1e-3)
        return elapsed

    def _forget(self, before: float) -> None:
        while self._sent and self._sent[0][0] <= before:
            self._sent_bytes -= self._sent.popleft()[1]

    def _spend(self, size: int, now: float) -> None:
        self._sent.append((now, size))
        self._sent_bytes += size
        self._tokens = max(0.0, self._tokens - size)


class RateLimiter:
    """Lets at most `max_rate_hz` frames a second through, evenly: of 30 Hz every third frame for 10 Hz."""

    def __init__(self) -> None:
        self._due = float("-inf")

    def admit(self, max_rate_hz: float, now: float) -> bool:
        """Whether a frame that arrives at `now` (seconds, monotonic) may pass; 0 Hz is no limit."""
        if max_rate_hz <= 0:
            self._due = float("-inf")
            return True
        period = 1 / max_rate_hz
        # Arrivals jitter; a frame that is a little early takes its slot, and the schedule stays where it was.
        if now < self._due - 0.25 * period:
            return False
        self._due = self._due + period if self._due + period > now else now + period
        return True
