"""When the frames of a recording are played: recorded time that runs at a speed, stops and goes on."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence

#: Stands for the frame period where the stamps do not tell one, in nanoseconds.
DEFAULT_PERIOD_NS = 100_000_000

#: A longer gap between two stamps is a clock that was set, or a pause that nobody wants to wait for.
LONGEST_GAP_NS = 10_000_000_000

_DAY_NS = 86_400_000_000_000


def fits_ros(nanoseconds: int) -> bool:
    """Whether a ROS message can hold this time: its seconds are an int32."""
    return -(2**31) <= nanoseconds // 1_000_000_000 < 2**31


class Schedule:
    """When to play each frame, for any stamps: zero, frozen, jumping, going back.

    Two stamps that follow each other by at most `LONGEST_GAP_NS` keep their distance. Any other step takes one frame
    period, the median of the good steps.

    Attributes:
        times_ns: when each frame is due, in nanoseconds after the first one.
        clock_ns: what /clock says at that moment. It never goes back. It is the frame's stamp, but goes on by one
            period a frame where stamps stand still, go back, or jump ahead for one frame only.
        period_ns: the frame period, above 0.
        odd_steps: how many steps from one stamp to the next were not used.
    """

    def __init__(self, stamps_ns: Sequence[int]) -> None:
        """`stamps_ns`: the stamps of all frames, at least one, in the order in which they are played."""
        steps = [later - earlier for earlier, later in itertools.pairwise(stamps_ns)]
        good = [step for step in steps if 0 < step <= LONGEST_GAP_NS]
        self.period_ns: int = statistics.median_low(good) if good else DEFAULT_PERIOD_NS
        self.odd_steps = len(steps) - len(good)
        first = stamps_ns[0]
        if len(steps) > 1 and abs(steps[0]) > LONGEST_GAP_NS >= abs(steps[1]):
            first = stamps_ns[1] - self.period_ns  # often the first stamp is 0, before the camera has the time
        self.times_ns, self.clock_ns = [0], [first]
        for step, stamp, after in zip(steps, stamps_ns[1:], [*steps[1:], -1]):
            wait = step if 0 < step <= LONGEST_GAP_NS else self.period_ns
            self.times_ns.append(self.times_ns[-1] + wait)
            credible = fits_ros(stamp) and (step <= LONGEST_GAP_NS or after >= 0)
            clock = self.clock_ns[-1] + wait
            self.clock_ns.append(max(stamp, clock) if credible else clock)

    def clock_before(self, index: int, left_ns: int) -> int:
        """What /clock says in the first round when frame `index` is due in `left_ns`."""
        if index == 0 or left_ns <= 0:
            return self.clock_ns[index] - left_ns
        return self.clock_ns[index - 1] + self.times_ns[index] - self.times_ns[index - 1] - left_ns

    @property
    def round_ns(self) -> int:
        """Time from the first frame of one round of a loop to the first of the next."""
        return self.times_ns[-1] + self.period_ns

    @property
    def round_clock_ns(self) -> int:
        """By how much stamps and /clock are later in the next round, so that they go on evenly.

        Only where the clock was set by days within the recording, they go back at the start of a round: otherwise they
        would soon be later than ROS can express.
        """
        length = self.clock_ns[-1] - self.clock_ns[0] + self.period_ns
        return length if length - self.round_ns < _DAY_NS else self.round_ns


class Playhead:
    """The position in a recording, in nanoseconds, driven by a monotonic clock."""

    def __init__(self, start_ns: int, now: float) -> None:
        self.position_ns = start_ns
        self._now = now

    def move(self, now: float, rate: float, limit_ns: int) -> int:
        """Go on to `now` (seconds) at `rate` times the recorded speed (0: pause), but not past `limit_ns`.

        The limit is when the next frame is due: when publishing cannot keep up, the recording plays slower and nothing
        is skipped. Returns the new position.
        """
        elapsed_ns = max(0.0, now - self._now) * 1e9
        self._now = now
        self.position_ns = max(self.position_ns, min(limit_ns, self.position_ns + round(elapsed_ns * rate)))
        return self.position_ns
