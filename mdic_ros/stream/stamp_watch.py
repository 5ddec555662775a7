"""Header stamps are the identity of a frame, unless the driver leaves them empty or repeats them."""

from __future__ import annotations

from collections import deque

from mdic_ros.stamps import repeats, stamp_problem


class StampWatch:
    """Judges the last stamps of a stream by the rule for whole recordings, `mdic_ros.stamps`.

    Stamps that go back are fine: a recording of `WINDOW` frames or more that is played in a loop has them.
    """

    WINDOW = 20  # stamps that are judged

    def __init__(self) -> None:
        self.problem = ""  #: what is wrong with the stamps now, see `stamp_problem`; empty when they can be trusted
        self._last: deque[int] = deque(maxlen=self.WINDOW)

    def add(self, stamp_ns: int) -> bool:
        """Register the stamp of a frame in ns; True when `problem` has changed by it."""
        before = self.problem
        self._last.append(stamp_ns)
        found = stamp_problem(self._last)
        # Trusted again only when none of them is repeated: near the limit the answer would change all the time.
        if found or not repeats(self._last):
            self.problem = found
        return self.problem != before
