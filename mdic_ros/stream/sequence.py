"""Loss, duplicates and late packets, from the encoder's frame counter."""

from __future__ import annotations

from collections import deque
from enum import Enum


class Arrival(Enum):
    """What a sequence number says about the packet that carries it."""

    NEXT = "next"
    DUPLICATE = "duplicate"
    OUT_OF_ORDER = "out_of_order"


class SequenceTracker:
    """Tells loss, duplicates and late packets from the encoder's frame counter (uint32, wraps).

    A late packet is refused: the picture after it has been shown already. A restarted encoder counts from 0 again,
    which must not be taken for lateness: its stamps go on, or its numbers fall back far, or they stay behind.

    Only packets that proved to be whole are registered; the number of a damaged one says nothing, so what it was counts
    as lost. A number far ahead is still not believed: the packet is decoded, but nothing counts as lost, unless the
    packets after it go on from there.
    """

    REORDER_WINDOW = 16  # a packet that is later than this many others is a restart, not reordering
    PATIENCE = 4  # different ones refused in a row that are a restart, too (a short recording in a loop)
    MAX_GAP = 10_000  # more lost in a row are not loss (a quarter of an hour at 10 Hz) but a wrong number

    def __init__(self) -> None:
        self.lost = 0
        self.restarts = 0
        self._last: tuple[int, int] | None = None
        self._far: int | None = None  # a number that was not believed
        self._seen: deque[tuple[int, int]] = deque(maxlen=self.REORDER_WINDOW)
        self._unread: set[int] = set()
        self._refused = 0
        self._last_refused: int | None = None

    def ahead(self, sequence: int) -> int:
        """How far a number is ahead of the last packet's, or of 0 before the first: -2^31 to 2^31 - 1."""
        last = 0 if self._last is None else self._last[0]
        return (sequence - last + 2**31) % 2**32 - 2**31

    def unread(self, sequence: int) -> None:
        """A packet with this number came and was dropped without a look into it; it is not lost on the link."""
        if len(self._unread) < self.MAX_GAP:  # of more, none counts as lost
            self._unread.add(sequence)

    def arrived(self, sequence: int, stamp_ns: int) -> Arrival:
        """Register a packet that is whole; only `NEXT` should be shown. `lost` grows by the numbers left out."""
        verdict = self._judge(sequence, stamp_ns)
        if verdict is Arrival.NEXT:
            self._seen.append((sequence, stamp_ns))
            self._refused = 0
            if self._far != sequence:
                self._last = (sequence, stamp_ns)
        elif verdict is Arrival.OUT_OF_ORDER:
            self.lost = max(0, self.lost - 1)  # it was counted as lost when its successor overtook it
            self._seen.append((sequence, stamp_ns))
        return verdict

    def _judge(self, sequence: int, stamp_ns: int) -> Arrival:
        if self._last is None:
            return Arrival.NEXT
        last_sequence, last_stamp = self._last
        ahead = (sequence - last_sequence) % 2**32
        behind = (last_sequence - sequence) % 2**32
        if 0 < ahead <= self.MAX_GAP:
            between = sum(0 < (number - last_sequence) % 2**32 < ahead for number in self._unread)
            self._unread.clear()
            self._far = None
            self.lost += max(0, ahead - 1 - between)
            return Arrival.NEXT
        if behind > self.REORDER_WINDOW and sequence > self.MAX_GAP:  # far off, and no encoder that starts again
            return self._far_off(sequence)
        if stamp_ns > last_stamp or behind > self.REORDER_WINDOW:
            return self._restart()
        if sequence != self._last_refused:  # a relay that repeats one packet many times is no restart
            self._last_refused = sequence
            self._refused += 1
        if self._refused > self.PATIENCE:
            return self._restart()
        return Arrival.DUPLICATE if (sequence, stamp_ns) in self._seen else Arrival.OUT_OF_ORDER

    def _far_off(self, sequence: int) -> Arrival:
        if self._far is not None and 0 < (sequence - self._far) % 2**32 <= self.REORDER_WINDOW:
            return self._restart()
        self._far = sequence
        return Arrival.NEXT

    def _restart(self) -> Arrival:
        self.restarts += 1
        self._seen.clear()
        self._unread.clear()
        self._far = None
        return Arrival.NEXT
