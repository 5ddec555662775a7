"""Header stamps are the identity of a frame, unless the driver leaves them empty or repeats them."""

from __future__ import annotations


class StampWatch:
    """Notices stamps that cannot identify a frame: zero, or the same one again and again.

    Stamps that go back are fine: a recording that is played in a loop has them.
    """

    REPEATS = 2  # one repeated stamp may be one message that came twice
    RECOVERY = 3  # good ones in a row until stamps are trusted again

    def __init__(self) -> None:
        self.problem = ""  #: what is wrong with the stamps now; empty when they can be trusted
        self._last: int | None = None
        self._repeats = 0
        self._good = 0

    def add(self, stamp_ns: int) -> bool:
        """Register a stamp in ns; True when `problem` has changed by it."""
        before = self.problem
        if stamp_ns == 0:
            self.problem, self._good = "all zero", 0
        elif stamp_ns == self._last:
            self._repeats, self._good = self._repeats + 1, 0
            if self._repeats >= self.REPEATS:
                self.problem = "repeated"
        else:
            self._repeats, self._good = 0, self._good + 1
            if self._good >= self.RECOVERY:
                self.problem = ""
        self._last = stamp_ns
        return self.problem != before
