"""Pairs every packet with the side image of the nearest stamp.

The packet leads: each one leaves exactly once, with a side image or, by policy, without. Stamps are nanoseconds of the
source's clock and are only ever compared with each other; how long to wait, and what to keep, is measured on the
caller's clock. KITTI's right camera is stamped 0.5 ms before the left one, so equal stamps cannot be asked for.

Where stamps cannot identify a frame (zero, or repeated), packets are paired by arrival: with the side image that
came nearest to the packet in time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Generic, Literal, TypeVar

from mdic_ros.codec.images import Image
from mdic_ros.stream.stamp_watch import StampWatch

Primary = TypeVar("Primary")
MissingSide = Literal["skip", "last", "none"]

# A side image this much newer than the packet no longer says "the one you wait for was lost": the recording that both
# come from has started again, and the history still holds its end.
_RESTART_NS = 1_000_000_000


class SideImage:
    """A side image that is loaded when it is needed, and kept at the size that is needed.

    Args:
        stamp_ns: its stamp. arrival: when it came, seconds of the caller's clock.
        source: the image, or what makes it (decodes a JPEG, reads a file); called once.
        source_bytes: memory that the source takes until then.
    """

    def __init__(
        self, stamp_ns: int, arrival: float, source: Image | Callable[[], Image], source_bytes: int = 0
    ) -> None:
        self.stamp_ns, self.arrival = stamp_ns, arrival
        self._source_bytes = source_bytes if callable(source) else source.nbytes
        self._source: Image | Callable[[], Image] | None = source
        self._image: Image | None = None

    @property
    def settled(self) -> bool:
        """Whether it has been loaded and scaled."""
        return self._source is None

    @property
    def bytes(self) -> int:
        """Memory it takes, of its source until it is loaded."""
        if not self.settled:
            return self._source_bytes
        return 0 if self._image is None else self._image.nbytes

    @property
    def image(self) -> Image | None:
        """The image at the coded size, None if it could not be used; once it is settled."""
        return self._image

    def settle(self, scale: Callable[[Image], Image]) -> None:
        """Load and scale it. Whatever goes wrong is raised once; then there is no image."""
        source, self._source = self._source, None
        if source is not None:
            self._image = scale(source() if callable(source) else source)


class SideHistory:
    """The side images of the last seconds, in order of arrival.

    Args:
        seconds: how long they are kept. max_bytes: the oldest go earlier when all take more than this.
    """

    MOST = 10_000  # entries; stands for memory that unloaded ones take

    def __init__(self, seconds: float, max_bytes: int) -> None:
        self.seconds, self.max_bytes = seconds, max_bytes
        self._entries: deque[SideImage] = deque(maxlen=self.MOST)

    def __iter__(self) -> Iterator[SideImage]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def newest(self) -> SideImage | None:
        """The last one that came."""
        return self._entries[-1] if self._entries else None

    def add(self, entry: SideImage) -> None:
        """Keep an image, and drop those that are too old or too many."""
        self._entries.append(entry)
        while self._entries[0].arrival < entry.arrival - self.seconds:
            self._entries.popleft()
        self.trim()

    def trim(self) -> None:
        """Drop the oldest until the rest takes no more than `max_bytes`; the newest stays."""
        total = sum(entry.bytes for entry in self._entries)
        while total > self.max_bytes and len(self._entries) > 1:
            total -= self._entries.popleft().bytes

    def keep_unsettled(self, number: int) -> None:
        """Drop all but the newest `number` of those that are not loaded yet."""
        unsettled = [entry for entry in self._entries if not entry.settled]
        gone = set(map(id, unsettled[:-number]))
        kept = [entry for entry in self._entries if id(entry) not in gone]
        self._entries.clear()
        self._entries.extend(kept)

    def nearest(self, stamp_ns: int) -> SideImage | None:
        """The one whose stamp is nearest, the newest of them on a tie."""
        return min(reversed(self._entries), key=lambda entry: abs(entry.stamp_ns - stamp_ns), default=None)

    def nearest_arrival(self, time: float) -> SideImage | None:
        """The one that came nearest to a time, the newest of them on a tie."""
        return min(reversed(self._entries), key=lambda entry: abs(entry.arrival - time), default=None)

    @property
    def period_ns(self) -> float:
        """Median time between the stamps of the last images; 0 while unknown."""
        stamps = [entry.stamp_ns for entry in list(self._entries)[-20:]]
        steps = [b - a for a, b in pairwise(stamps) if b > a]
        return median(steps) if steps else 0.0


@dataclass(frozen=True)
class Pair(Generic[Primary]):
    """A packet and what was found for it. `skip` is set when the policy says to drop it."""

    primary: Primary
    side: SideImage | None
    side_offset_ns: int  # stamp of the side image minus stamp of the packet; 0 without a side image
    skip: bool = False


@dataclass(frozen=True)
class _Waiting(Generic[Primary]):
    stamp_ns: int
    primary: Primary
    arrival: float
    deadline: float


class Pairer(Generic[Primary]):
    """Nearest-stamp pairing over a history of side images. Not thread safe.

    Attributes, which may be changed at any time:
        slop_s: largest difference of stamps that counts as the same instant.
        wait_s: how long a packet waits for a side image that has not arrived yet.
        missing: `skip` drops the packet, `last` takes the newest side image whatever its stamp, `none` decodes without.

    `packet_stamps` is told by the owner, of packets that proved to be whole: damaged ones and duplicates have stamps
    that say nothing about the camera.
    """

    MOST_WAITING = 100  # packets; more means that side images do not come

    def __init__(self, slop_s: float, wait_s: float, missing: MissingSide, history: SideHistory) -> None:
        self.slop_s = slop_s
        self.wait_s = wait_s
        self.missing: MissingSide = missing
        self.history = history
        self.packet_stamps, self.side_stamps = StampWatch(), StampWatch()
        self._waiting: deque[_Waiting[Primary]] = deque()

    @property
    def by_arrival(self) -> bool:
        """Whether stamps cannot be trusted now."""
        return bool(self.packet_stamps.problem or self.side_stamps.problem)

    def add_side(self, side: SideImage) -> bool:
        """Register a side image; True when it changed whether the side camera's stamps can be trusted."""
        self.history.add(side)
        return self.side_stamps.add(side.stamp_ns)

    def add_primary(self, stamp_ns: int, primary: Primary, now: float) -> None:
        """Register a packet; `now` in seconds, on the clock of `ready`."""
        self._waiting.append(_Waiting(stamp_ns, primary, now, now + self.wait_s))

    def ready(self, now: float) -> Iterator[Pair[Primary]]:
        """Take out, in order of arrival, the packets whose side image is there or no longer awaited."""
        while self._waiting:
            first = self._waiting[0]
            over = now >= first.deadline or len(self._waiting) > self.MOST_WAITING
            found = self._by_arrival(first, over) if self.by_arrival else self._by_stamp(first, over)
            if found is not None:
                pair = Pair(first.primary, found, found.stamp_ns - first.stamp_ns)
            elif over or self._passed(first.stamp_ns):
                pair = self._without(first)
            else:
                return
            self._waiting.popleft()
            yield pair

    @property
    def next_deadline(self) -> float | None:
        """When `ready` must be called again at the latest; None when nothing waits."""
        return self._waiting[0].deadline if self._waiting else None

    def _by_stamp(self, waiting: _Waiting[Primary], over: bool) -> SideImage | None:
        best = self.history.nearest(waiting.stamp_ns)
        if best is None or abs(best.stamp_ns - waiting.stamp_ns) > self.slop_s * 1e9:
            return None
        # One that is older than the packet may be the neighbour of a better one that is still under way.
        early = waiting.stamp_ns - best.stamp_ns
        newest = self.history.newest
        if not over and newest is best and early > self.history.period_ns / 2:
            return None
        return best

    def _by_arrival(self, waiting: _Waiting[Primary], over: bool) -> SideImage | None:
        newest = self.history.newest
        if newest is None or (not over and newest.arrival < waiting.arrival):
            return None  # the next one may be nearer
        return self.history.nearest_arrival(waiting.arrival)

    def _passed(self, stamp_ns: int) -> bool:
        """Whether the side camera is already past this instant, so that waiting is of no use."""
        newest = self.history.newest
        if newest is None or self.by_arrival:
            return False
        return self.slop_s * 1e9 < newest.stamp_ns - stamp_ns < _RESTART_NS

    def _without(self, waiting: _Waiting[Primary]) -> Pair[Primary]:
        newest = self.history.newest
        if self.missing == "last" and newest is not None:
            return Pair(waiting.primary, newest, newest.stamp_ns - waiting.stamp_ns)
        # `last` before the first side image has nothing to show; it decodes without.
        return Pair(waiting.primary, None, 0, skip=self.missing == "skip")
