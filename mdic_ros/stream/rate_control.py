"""Chooses the rate point of every frame so that three limits hold at once. Plain Python, no clock of its own.

- `rate_point`: the finest rate point to use,
- `max_bytes_per_frame`: no frame is larger,
- `target_bitrate_kbps`: in no window of `window_s` seconds are more bits sent, unless a single frame at the coarsest
  point is larger than the whole window allows; then it is alone in its window.

The bit rate is kept in two ways. A token bucket is refilled at the target rate. Its share for one frame names the
*base* point, the finest that can be sent in every frame; what is saved pays for a frame one point finer now and then.
So the quality stays within two neighbouring points at a steady target. The exact sum over the window is a hard limit:
where it is reached, frames get coarser, and are left out when even the coarsest does not fit. Bits are those of the
payload; DDS and UDP add about 212 bytes of their own to every message.
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

    MOST_ENTRIES = 1000  # frames of the future that are looked at; windows hold fewer in practice

    def __init__(self) -> None:
        self._sent: deque[tuple[float, int]] = deque()  # (time, bytes) inside the window
        self._sent_bytes = 0
        self._tokens = 0.0  # bytes that may be spent now
        self._last_time: float | None = None
        self._period_s = 0.1  # smoothed time between frames; a guess until there were two
        self._measured = False
        self._typical: list[float] = []  # smoothed bytes of each rate point
        self._last_point = 0

    def finest(self, limits: Limits) -> int | None:
        """The finest point that `choose` may take for the next frame; None = any. Finer ones need not be coded."""
        allowed = [limits.rate_point] if limits.rate_point >= 0 else []
        if limits.target_bitrate_kbps > 0:
            allowed.append(self._last_point + 1)
        return min(allowed) if allowed else None

    def choose(self, sizes: Sequence[int], limits: Limits, now: float) -> Choice:
        """Pick the rate point for a frame that takes `sizes[r]` bytes at rate point r (coarse to fine).

        The choice counts as sent. `reason` is `over_max_bytes` or `over_bitrate` when nothing fits.
        """
        elapsed = self._tick(now)
        self._forget(now - limits.window_s)
        self._learn(sizes)
        finest = len(sizes) - 1
        if limits.rate_point >= 0:
            finest = min(finest, limits.rate_point)
        points = list(range(finest + 1))
        if limits.max_bytes_per_frame > 0:
            points = [r for r in points if sizes[r] <= limits.max_bytes_per_frame]
            if not points:
                return Choice(None, "over_max_bytes")
        if limits.target_bitrate_kbps > 0:
            points = self._affordable(points, sizes, limits, elapsed, now)
            if not points:
                return Choice(None, "over_bitrate")
        else:
            self._tokens = 0.0
        # Sizes grow with the rate point but for freak cases; the finest one that fits is the last one.
        chosen = points[-1]
        self._last_point = chosen
        self._sent.append((now, sizes[chosen]))
        self._sent_bytes += sizes[chosen]
        self._tokens = max(0.0, self._tokens - sizes[chosen])
        return Choice(chosen)

    def _affordable(
        self, points: list[int], sizes: Sequence[int], limits: Limits, elapsed: float, now: float
    ) -> list[int]:
        """Those of the points that the bit rate allows."""
        bytes_per_s = limits.target_bitrate_kbps * 1000 / 8
        share, budget = bytes_per_s * self._period_s, bytes_per_s * limits.window_s
        base = max((r for r in points if self._typical[r] <= share), default=-1)
        # One point above the base, but never so far above what was sent last that the picture jumps.
        points = [r for r in points if r <= min(base + 1, self._last_point + 1)]
        if not points:  # a limit of bytes has taken the coarse ones out (freak sizes); nothing is cheap enough
            return []
        # What is saved is kept for one frame of the finest of these, whatever the target is.
        most = max(2 * share, *(sizes[r] + share for r in points))
        self._tokens = min(self._tokens + bytes_per_s * elapsed, most)
        left = budget - self._sent_bytes
        fitting = []
        for r in points:
            # The next frames must fit one point coarser, so that quality goes down step by step and none is left out.
            # Two coarse frames of reserve: sizes vary.
            follows, reserve = sizes[max(r - 1, 0)], 2 * sizes[0]
            cost = sizes[r]
            pays = cost <= self._tokens
            if r == 0:
                if pays and (cost <= left or not self._sent):
                    fitting.append(r)
            elif pays and cost <= left and self._leaves_room(cost, follows, budget - reserve, limits.window_s, now):
                fitting.append(r)
        return fitting

    def _leaves_room(self, cost: int, follows: int, budget: float, window_s: float, now: float) -> bool:
        """Whether frames of `follows` bytes fit behind one of `cost` bytes sent now, while the window moves on."""
        steps = min(int(window_s / self._period_s), self.MOST_ENTRIES)
        total, entries = self._sent_bytes + cost, iter(self._sent)
        gone = next(entries, None)
        for step in range(1, steps + 1):
            # Half a period late: arrivals vary, and the next frame may come before an old one has left the window.
            while gone is not None and gone[0] <= now + (step - 0.5) * self._period_s - window_s:
                total -= gone[1]
                gone = next(entries, None)
            total += follows
            if total > budget:
                return False
        return True

    def _learn(self, sizes: Sequence[int]) -> None:
        for r, size in enumerate(sizes):
            if r < len(self._typical):
                self._typical[r] += 0.2 * (size - self._typical[r])
            else:
                self._typical.append(float(size))

    def _tick(self, now: float) -> float:
        """Seconds since the last frame (the first frame gets one period's worth), smoothing the period."""
        if self._last_time is None:
            self._last_time = now
            return self._period_s
        elapsed = max(0.0, now - self._last_time)
        self._last_time = now
        if not self._measured:
            self._measured, self._period_s = True, max(min(elapsed, 1.0), 1e-3)
            return elapsed
        # A pause says nothing about the frame rate: without the cap one long gap would let a burst through.
        self._period_s += 0.2 * (min(elapsed, 4 * self._period_s) - self._period_s)
        self._period_s = max(self._period_s, 1e-3)
        return elapsed

    def _forget(self, before: float) -> None:
        while self._sent and self._sent[0][0] <= before:
            self._sent_bytes -= self._sent.popleft()[1]


class RateLimiter:
    """Lets at most `max_rate_hz` frames a second through, evenly: of 30 Hz every third frame for 10 Hz."""

    def __init__(self) -> None:
        self._slot = float("-inf")  # of the last frame; what may follow depends on the rate that holds then

    def admit(self, max_rate_hz: float, now: float) -> bool:
        """Whether a frame that arrives at `now` (seconds, monotonic) may pass; 0 Hz is no limit."""
        if max_rate_hz <= 0:
            self._slot = now
            return True
        period = 1 / max_rate_hz
        due = self._slot + period
        # Arrivals jitter; a frame that is a little early takes its slot, and the schedule stays where it was.
        if now < due - 0.25 * period:
            return False
        self._slot = due if due + period > now else now
        return True
