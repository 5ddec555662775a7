"""Pairs every bitstream with the side image of the nearest stamp, and watches the sequence numbers.

The bitstream leads: each one leaves exactly once, with a side image or, by policy, without. Stamps are
nanoseconds of the source's clock and are only ever compared with each other; how long to wait is measured on
the caller's monotonic clock. KITTI's right camera is stamped 0.5 ms before the left one, so equal stamps
cannot be asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Literal, TypeVar

Primary = TypeVar("Primary")
Side = TypeVar("Side")
MissingSide = Literal["skip", "last", "none"]

# A side image this much newer than the bitstream no longer says "the one you wait for was lost": the
# recording that both come from has started again, and the ring still holds its end.
_RESTART_NS = 1_000_000_000


@dataclass(frozen=True)
class Pair(Generic[Primary, Side]):
    """A bitstream and what was found for it. `skip` is set when the policy says to drop it."""

    primary: Primary
    side: Side | None
    side_offset_ns: int  # stamp of the side image minus stamp of the bitstream; 0 without a side image
    skip: bool = False


@dataclass(frozen=True)
class _Waiting(Generic[Primary]):
    stamp_ns: int
    primary: Primary
    deadline: float


class Pairer(Generic[Primary, Side]):
    """Nearest-stamp pairing with a short ring of side images. Not thread safe: one thread calls it.

    slop_s: largest difference of stamps that counts as the same instant. Below half the frame period of the
        side camera at most one side image can be that near, so the first one found is the nearest one.
    wait_s: how long a bitstream waits for a side image that has not arrived yet.
    missing: `skip` drops the bitstream, `last` takes the newest side image whatever its stamp, `none` decodes
        without. All three may be changed at any time.
    """

    def __init__(self, slop_s: float, wait_s: float, missing: MissingSide, ring: int = 10, waiting: int = 10):
        self.slop_s = slop_s
        self.wait_s = wait_s
        self.missing: MissingSide = missing
        self._ring: deque[tuple[int, Side]] = deque(maxlen=ring)
        self._waiting: deque[_Waiting[Primary]] = deque()
        self._most_waiting = waiting

    def add_side(self, stamp_ns: int, side: Side) -> None:
        self._ring.append((stamp_ns, side))

    def add_primary(self, stamp_ns: int, primary: Primary, now: float) -> None:
        """`now`: seconds on any monotonic clock, the same one as in `ready`."""
        self._waiting.append(_Waiting(stamp_ns, primary, now + self.wait_s))

    def ready(self, now: float) -> Iterator[Pair[Primary, Side]]:
        """Take out, in order of arrival, the bitstreams whose side image is there or no longer awaited."""
        while self._waiting:
            first = self._waiting[0]
            nearest = self._nearest(first.stamp_ns)
            if nearest is not None:
                pair = Pair(first.primary, nearest[1], nearest[0] - first.stamp_ns)
            elif now >= first.deadline or len(self._waiting) > self._most_waiting or self._passed(first.stamp_ns):
                pair = self._without(first)
            else:
                return
            self._waiting.popleft()
            yield pair

    @property
    def next_deadline(self) -> float | None:
        """When `ready` must be called again at the latest; None when nothing waits."""
        return self._waiting[0].deadline if self._waiting else None

    def _nearest(self, stamp_ns: int) -> tuple[int, Side] | None:
        best = min(self._ring, key=lambda entry: abs(entry[0] - stamp_ns), default=None)
        if best is not None and abs(best[0] - stamp_ns) <= self.slop_s * 1e9:
            return best
        return None

    def _passed(self, stamp_ns: int) -> bool:
        """Whether the side camera is already past this instant, so that waiting is of no use."""
        if not self._ring:
            return False
        ahead = self._ring[-1][0] - stamp_ns
        return self.slop_s * 1e9 < ahead < _RESTART_NS

    def _without(self, waiting: _Waiting[Primary]) -> Pair[Primary, Side]:
        if self.missing == "last" and self._ring:
            stamp_ns, side = self._ring[-1]
            return Pair(waiting.primary, side, stamp_ns - waiting.stamp_ns)
        # `last` before the first side image has nothing to show; it decodes without.
        return Pair(waiting.primary, None, 0, skip=self.missing == "skip")


class Arrival(Enum):
    """What a sequence number says about the message that carries it."""

    NEXT = "next"
    DUPLICATE = "duplicate"
    OUT_OF_ORDER = "out_of_order"


class SequenceTracker:
    """Tells loss, duplicates and late packets from the encoder's frame counter (uint32, wraps).

    A late packet is refused: the picture after it has been shown already. An encoder that was restarted
    counts from 0 again, which must not be taken for lateness: its stamps go on, or its numbers fall back far,
    or they stay behind.
    """

    REORDER_WINDOW = 16  # a packet that is later than this many others is a restart, not reordering
    PATIENCE = 4  # so many different ones refused in a row are a restart too (a short recording in a loop)

    def __init__(self) -> None:
        self.lost = 0
        self.restarts = 0
        self._last: tuple[int, int] | None = None
        self._seen: deque[tuple[int, int]] = deque(maxlen=self.REORDER_WINDOW)
        self._refused = 0
        self._last_refused: int | None = None

    def arrived(self, sequence: int, stamp_ns: int) -> Arrival:
        """Register one message; only `NEXT` should be decoded. `lost` grows by the numbers left out."""
        verdict = self._judge(sequence, stamp_ns)
        if verdict is Arrival.NEXT:
            self._last = (sequence, stamp_ns)
            self._seen.append(self._last)
            self._refused = 0
        elif verdict is Arrival.OUT_OF_ORDER:
            self.lost = max(0, self.lost - 1)  # it was counted as lost when its successor overtook it
            self._seen.append((sequence, stamp_ns))
        return verdict

    def _judge(self, sequence: int, stamp_ns: int) -> Arrival:
        if self._last is None:
            return Arrival.NEXT
        last_sequence, last_stamp = self._last
        ahead = (sequence - last_sequence) % 2**32
        if 0 < ahead < 2**31:
            self.lost += ahead - 1
            return Arrival.NEXT
        behind = (last_sequence - sequence) % 2**32
        if stamp_ns > last_stamp or behind > self.REORDER_WINDOW:
            return self._restart()
        if sequence != self._last_refused:  # a relay that repeats one packet many times is no restart
            self._last_refused = sequence
            self._refused += 1
        if self._refused > self.PATIENCE:
            return self._restart()
        return Arrival.DUPLICATE if (sequence, stamp_ns) in self._seen else Arrival.OUT_OF_ORDER

    def _restart(self) -> Arrival:
        self.restarts += 1
        self._seen.clear()
        return Arrival.NEXT
