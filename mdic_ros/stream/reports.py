"""StreamInfo, which describes a stream, and DecodeReport, which describes a picture.

They are built here and nowhere else. Field names, units and ranges are those of `msg/StreamInfo.msg` and
`msg/DecodeReport.msg`; a node or a bag writer adds the header and has the message.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from mdic_ros.codec.bitstream import MAX_SCALES, MAX_SIDE, MIN_HEIGHT, MIN_WIDTH
from mdic_ros.codec.bundle import MODEL_ID
from mdic_ros.errors import MdicError

_HOUR_MS = 3_600_000.0
_MAX_TEXT = 64
_MAX_NUMBERS = 32  # of a distortion model; the longest in use has 14
#: Of a calibration. In pixels, or pixels times metres of baseline, so no camera comes near it; scaled, it stays finite.
_MAX_NUMBER = 1e9
MAX_FRAME_ID = 256  #: characters of a header's frame_id


class StreamInfoError(MdicError):
    """A StreamInfo that no encoder sends: a text or number outside its range."""


class Calibration(Protocol):
    """What a session needs from a camera's calibration; `mdic_ros.datasets.CameraInfo` is one."""

    def same_as(self, other: Any) -> bool:
        """Whether all numbers are equal."""
        ...


@dataclass(frozen=True)
class StreamInfo:
    """What stays the same from frame to frame; see `msg/StreamInfo.msg`.

    `calibration` is that of the source camera at the source size, None when it is not known.
    """

    height: int
    width: int
    coded_height: int
    coded_width: int
    encoding: str
    model_id: str
    fingerprint: str
    stream_version: int
    rate_points: int
    calibration: Any = None

    def facts(self) -> dict[str, Any]:
        """The message's fields but for header and camera_info."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "calibration"}

    def same_as(self, other: StreamInfo | None) -> bool:
        """Whether all of it is equal, calibrations compared by their numbers."""
        if other is None or self.facts() != other.facts():
            return False
        if self.calibration is None or other.calibration is None:
            return self.calibration is other.calibration
        return bool(self.calibration.same_as(other.calibration))


def read_stream_info(message: Any, to_calibration: Callable[[Any], Any]) -> StreamInfo:
    """A received `mdic_ros/msg/StreamInfo`, checked: it may come from anybody.

    Args:
        message: the message, of rclpy or of rosbags.
        to_calibration: makes of its camera_info what the caller keeps as a calibration.

    Raises:
        StreamInfoError: a text or number is outside the range that the message definition gives.
    """
    _check(1 <= message.height <= 65535 and 1 <= message.width <= 65535, "source size")
    _check(MIN_HEIGHT <= message.coded_height <= MAX_SIDE, "coded_height")
    _check(MIN_WIDTH <= message.coded_width <= MAX_SIDE, "coded_width")
    _check(len(message.header.frame_id) <= MAX_FRAME_ID, "header.frame_id")
    _check(len(message.encoding) <= _MAX_TEXT and message.encoding.isprintable(), "encoding")
    _check(MODEL_ID.fullmatch(message.model_id), "model_id")
    _check(re.fullmatch(r"[0-9a-f]{64}", message.fingerprint), "fingerprint")
    _check(1 <= message.stream_version <= 15, "stream_version")
    _check(1 <= message.rate_points <= MAX_SCALES, "rate_points")
    problem = calibration_problem(message.camera_info)
    _check(not problem, f"camera_info.{problem}")
    fields = {name: getattr(message, name) for name in StreamInfo.__dataclass_fields__ if name != "calibration"}
    return StreamInfo(**fields, calibration=to_calibration(message.camera_info))


def calibration_problem(camera_info: Any) -> str:
    """The field of a `sensor_msgs/CameraInfo` that is too long, not finite or beyond 1e9; empty if there is none."""
    if len(camera_info.header.frame_id) > MAX_FRAME_ID:
        return "header.frame_id"
    if len(camera_info.distortion_model) > _MAX_TEXT:
        return "distortion_model"
    if len(camera_info.d) > _MAX_NUMBERS:
        return "d"
    return next((name for name in ("d", "k", "r", "p") if not _bounded(getattr(camera_info, name))), "")


def _bounded(numbers: Iterable[float]) -> bool:
    return all(abs(number) <= _MAX_NUMBER for number in numbers)  # NaN fails


def _check(good: object, what: str) -> None:
    if not good:
        raise StreamInfoError(f"its {what} is out of range; no encoder of mdic_ros sends that")


@dataclass(frozen=True)
class DecodeReport:
    """How one frame was decoded; see `msg/DecodeReport.msg`."""

    sequence: int
    bytes: int
    rate_point: int
    cut: bool
    side_used: bool
    side_offset_ms: float
    bpp: float
    caption: str
    entropy_ms: float
    caption_ms: float
    side_ms: float
    denoise_ms: float
    pixels_ms: float
    decode_ms: float
    queue_ms: float
    drops_total: int
    age_ms: float = math.nan  # the session has no clock that stamps could be compared with; its owner may

    def fields(self) -> dict[str, Any]:
        """The message's fields but for the header."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def age_ms(now_ns: int, stamp_ns: int) -> float:
    """Milliseconds from a stamp to now; NaN when the two clocks have nothing to do with each other.

    That is when the age is below 0, or an hour and more: recordings of another day, clocks never set.
    """
    age = (now_ns - stamp_ns) / 1e6
    return age if 0.0 <= age < _HOUR_MS else math.nan
