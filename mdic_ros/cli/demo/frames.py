"""From messages to frames: one row of figures and one set of pictures for every image that was played."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdic_ros.datasets.timing import DEFAULT_SLOP_S, nearest
from mdic_ros.evaluation.metrics import psnr

Picture = NDArray[np.uint8]
NAN = math.nan


@dataclass(frozen=True)
class Row:
    """The figures of one frame. NaN and "" stand for what is not known, or for a frame that was not decoded.

    Attributes:
        frame: number of the image in the recording, from 0.
        stamp_ns: header stamp under which it was played.
        decoded: whether a picture came out.
        sequence, bytes, rate_point, bpp, caption, side_used: as in DecodeReport.
        kbps: kbit/s that packets of this size make at the recording's frame rate.
        encode_ms: from the arrival of the image to the arrival of its packet, both at the monitor: encoding
            and one trip through DDS.
        decode_ms, queue_ms, age_ms: as in DecodeReport; age is from the playing of the image to the picture.
        psnr_db: PSNR of the picture against the original at the coded size.
        side_psnr_db: the same of the side image as it is, to compare with.
    """

    frame: int
    stamp_ns: int
    decoded: bool = False
    sequence: int = -1
    bytes: int = 0
    rate_point: int = -1
    bpp: float = NAN
    kbps: float = NAN
    encode_ms: float = NAN
    decode_ms: float = NAN
    queue_ms: float = NAN
    age_ms: float = NAN
    psnr_db: float = NAN
    side_psnr_db: float = NAN
    side_used: bool = False
    caption: str = ""

    def as_json(self) -> dict[str, Any]:
        """Fields as JSON has them: null for NaN, floats rounded to 4 digits behind the point."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: json_number(value) for name, value in values.items()}


def json_number(value: Any) -> Any:
    """A float rounded, or None where JSON has no number for it; anything else as it is."""
    if not isinstance(value, float):
        return value
    return round(value, 4) if math.isfinite(value) else None


@dataclass
class Frame:
    """What has been seen of one played image. Pictures have the coded size."""

    stamp_ns: int
    index: int = -1
    original: Picture | None = None
    original_time: float = NAN
    packet_bytes: int = 0
    packet_time: float = NAN
    picture: Picture | None = None
    mask: Picture | None = None
    side: Picture | None = None
    report: Any = None
    recorded: list[tuple[int, str, str, bytes]] = field(default_factory=list)  #: time_ns, topic, type, CDR

    @property
    def complete(self) -> bool:
        """All that the decoder publishes for a frame is here. The packet itself may get lost on its way here."""
        return self.report is not None and all(x is not None for x in (self.original, self.picture, self.mask))

    def row(self, rate_hz: float) -> Row:
        """The figures, with `rate_hz` the frame rate of the recording."""
        if not self.complete:
            return Row(self.index, self.stamp_ns, bytes=self.packet_bytes)
        report = self.report
        assert self.picture is not None and self.original is not None
        return Row(
            frame=self.index,
            stamp_ns=self.stamp_ns,
            decoded=True,
            sequence=report.sequence,
            bytes=report.bytes,
            rate_point=report.rate_point,
            bpp=report.bpp,
            kbps=report.bytes * 8 / 1000 * rate_hz,
            encode_ms=(self.packet_time - self.original_time) * 1000,
            decode_ms=report.decode_ms,
            queue_ms=report.queue_ms,
            age_ms=report.age_ms,
            psnr_db=psnr(self.picture, self.original),
            side_psnr_db=psnr(self.side, self.original) if self.side is not None else NAN,
            side_used=report.side_used,
            caption=report.caption,
        )


class Collector:
    """Puts together what arrives on several topics, by stamp, and hands on whole frames in their order.

    A frame that the decoder left out is handed on, without a picture, as soon as a later one is whole.

    Args:
        limit: number of images to look at; what comes after them is left alone.
        hand_on: called with each frame.
    """

    def __init__(self, limit: int, hand_on: Callable[[Frame], None]) -> None:
        self._limit, self._hand_on = limit, hand_on
        self._frames: dict[int, Frame] = {}
        self._sides: deque[tuple[int, Picture]] = deque(maxlen=16)
        self.played = 0
        self.done = 0

    def original(self, stamp_ns: int, image: Picture, time: float) -> None:
        """An image of the coded camera, scaled to the coded size; `time` is monotonic, in seconds."""
        if self.played == self._limit:
            return
        frame = self._frame(stamp_ns)
        if frame.original is None:
            frame.index, frame.original, frame.original_time = self.played, image, time
            self.played += 1
            self._advance(frame)

    def side(self, stamp_ns: int, image: Picture) -> None:
        """An image of the side camera, scaled to the coded size."""
        self._sides.append((stamp_ns, image))

    def packet(self, stamp_ns: int, size: int, time: float) -> None:
        """A packet of `size` bytes."""
        frame = self._frame(stamp_ns)
        frame.packet_bytes, frame.packet_time = size, time

    def picture(self, stamp_ns: int, image: Picture) -> None:
        """A decoded image."""
        frame = self._frame(stamp_ns)
        frame.picture = image
        self._advance(frame)

    def mask(self, stamp_ns: int, image: Picture) -> None:
        """What the decoder found to be in both views, H x W."""
        frame = self._frame(stamp_ns)
        frame.mask = image
        self._advance(frame)

    def report(self, stamp_ns: int, report: Any) -> None:
        """A DecodeReport."""
        frame = self._frame(stamp_ns)
        frame.report = report
        self._advance(frame)

    def record(self, stamp_ns: int, time_ns: int, topic: str, msgtype: str, data: bytes) -> None:
        """Keep a serialised message with its frame."""
        self._frame(stamp_ns).recorded.append((time_ns, topic, msgtype, data))

    def finish(self) -> None:
        """Nothing more will come: hand on the rest as it is."""
        self._hand_on_until(self.played)

    def _frame(self, stamp_ns: int) -> Frame:
        return self._frames.setdefault(stamp_ns, Frame(stamp_ns))

    def _advance(self, frame: Frame) -> None:
        if frame.complete:
            self._hand_on_until(frame.index + 1)

    def _hand_on_until(self, index: int) -> None:
        waiting = sorted((f for f in self._frames.values() if 0 <= f.index < index), key=lambda f: f.index)
        sides = sorted(self._sides, key=lambda entry: entry[0])
        for frame in waiting:
            if frame.index < self.done:
                continue  # a picture that came after its frame was given up
            found = nearest([stamp for stamp, _ in sides], frame.stamp_ns, round(DEFAULT_SLOP_S * 1e9))
            frame.side = sides[found][1] if found is not None else None
            self.done = frame.index + 1
            self._hand_on(frame)
            del self._frames[frame.stamp_ns]


def medians(rows: list[Row]) -> dict[str, float]:
    """Medians of the figures over the decoded frames; NaN where there is none."""
    names = ("bytes", "bpp", "kbps", "encode_ms", "decode_ms", "queue_ms", "age_ms", "psnr_db", "side_psnr_db")
    result = {}
    for name in names:
        values = [float(getattr(row, name)) for row in rows if row.decoded]
        values = [value for value in values if not math.isnan(value)]
        result[name] = float(median(values)) if values else NAN
    return result
