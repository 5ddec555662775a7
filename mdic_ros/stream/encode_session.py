"""One stream on the robot: images of one camera in, packets out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mdic_ros.codec.bitstream import MAX_SIDE, MIN_HEIGHT, MIN_WIDTH, VERSION, View
from mdic_ros.codec.encoder import Encoder
from mdic_ros.codec.images import Image, resize_image
from mdic_ros.errors import ImageError
from mdic_ros.stream.events import DropCounter, Event, Tell, ignore
from mdic_ros.stream.rate_control import Limits, RateController, RateLimiter
from mdic_ros.stream.reports import StreamInfo
from mdic_ros.stream.stamp_watch import StampWatch


@dataclass(frozen=True)
class EncodeSettings(Limits):
    """How to encode; may be replaced between frames.

    Attributes, besides those of `Limits`:
        max_rate_hz: highest frame rate; 0 = no limit. Kept by `EncodeSession.admit`.
        coded_height, coded_width: size that images are scaled to; 0 = the source's, or, when the other one is given,
            what keeps the aspect ratio.
        view: the camera that is coded; the side image is the other one's.
    """

    max_rate_hz: float = 0.0
    coded_height: int = 0
    coded_width: int = 0
    view: View = "left"


@dataclass(frozen=True)
class CodedFrame:
    """A packet.

    Attributes:
        data: the bitstream.
        sequence: counts the packets of the session, from 0, modulo 2^32.
        rate_point: the one that was sent, 0 = coarsest.
        size: height and width of the coded image in pixels.
        info: the StreamInfo to send before this packet; None when nothing in it has changed.
    """

    data: bytes
    sequence: int
    rate_point: int
    size: tuple[int, int]
    info: StreamInfo | None


@dataclass(frozen=True)
class Refused:
    """A frame that was not sent: `cause` is the word of its counter, `text` a sentence for people."""

    cause: str
    text: str


def coded_size(height: int, width: int, settings: EncodeSettings) -> tuple[int, int]:
    """Height and width, in pixels, that an image of height x width is coded at.

    With one of `coded_height` and `coded_width` alone the aspect ratio stays.

    Raises:
        ImageError: that makes the other side too short or too long; says which values do not.
    """
    if settings.coded_height and settings.coded_width:
        return settings.coded_height, settings.coded_width
    heights, widths = ("coded_height", height, MIN_HEIGHT), ("coded_width", width, MIN_WIDTH)
    if settings.coded_height:
        return settings.coded_height, _in_proportion(settings.coded_height, heights, widths)
    if settings.coded_width:
        return _in_proportion(settings.coded_width, widths, heights), settings.coded_width
    return height, width


def _in_proportion(given: int, this: tuple[str, int, int], other: tuple[str, int, int]) -> int:
    """The side that follows from the given one; sides as (name of the setting, pixels of the image, least)."""
    (name, pixels, least), (other_name, other_pixels, other_least) = this, other
    found = round(given * other_pixels / pixels)
    if other_least <= found <= MAX_SIDE:
        return found
    # Where the other side, rounded, is the least and the most.
    lowest = max(least, math.ceil((other_least - 0.5) * pixels / other_pixels))
    highest = min(MAX_SIDE, math.floor((MAX_SIDE + 0.5) * pixels / other_pixels))
    remedy = f"set both, or {name} from {lowest} to {highest}" if lowest <= highest else "set both"
    raise ImageError(
        f"{name} = {given} makes {other_name} {found}, and {other_least} to {MAX_SIDE} can be coded: {remedy}"
    )


class EncodeSession:
    """The behaviour of one coded stream. Not thread safe, except for `admit`, `drops` and `settings`.

    Args:
        encoder: may be shared with other sessions.
        settings: how to encode; assign new ones at any time.
        tell: called with every event: dropped frames, stamps that cannot be trusted.
    """

    def __init__(self, encoder: Encoder, settings: EncodeSettings | None = None, tell: Tell = ignore) -> None:
        self.encoder = encoder
        self.settings = settings or EncodeSettings()
        self.drops = DropCounter()
        self.sent = 0  #: packets
        self._tell = tell
        self._limiter, self._controller = RateLimiter(), RateController()
        self._stamps = StampWatch()
        self._announced: StreamInfo | None = None

    @property
    def stamp_problem(self) -> str:
        """What is wrong with the stamps of the images; empty when they identify a frame."""
        return self._stamps.problem

    def admit(self, now: float) -> bool:
        """Whether a frame that arrives now is within `max_rate_hz`; counts it as dropped if it is not.

        Args:
            now: seconds on a monotonic clock.
        """
        if self._limiter.admit(self.settings.max_rate_hz, now):
            return True
        self.drops.count("over_max_rate")
        return False

    def push(
        self,
        source: Image | Callable[[], Image],
        stamp_ns: int,
        now: float,
        *,
        encoding: str = "rgb8",
        calibration: Any = None,
    ) -> CodedFrame | Refused:
        """Encode an image.

        Args:
            source: H x W x 3 uint8 RGB of the source's size, or a function that returns it or raises ImageError.
            stamp_ns: its stamp in nanoseconds.
            now: seconds on a monotonic clock, for the bit rate.
            encoding: of the source image, for StreamInfo.
            calibration: of the source camera at the source size, see `reports.Calibration`; None = unknown.

        Returns:
            The packet, or why there is none: "bad_image", "over_max_bytes", "over_bitrate".
        """
        settings = self.settings
        if self._stamps.add(stamp_ns):
            self._tell_of_stamps()
        try:
            image = source() if callable(source) else source
            height, width = image.shape[:2]
            coded = resize_image(image, *coded_size(height, width, settings))
            finest = self._controller.finest(settings)
            finest = None if finest is None else min(finest, self.encoder.rate_points - 1)
            packets = self.encoder.encode_all(coded, rate_point=finest, view=settings.view)
        except ImageError as error:
            return self._refuse("bad_image", str(error))
        sizes = [len(packet) for packet in packets]
        choice = self._controller.choose(sizes, settings, now)
        if choice.rate_point is None:
            return self._refuse(choice.reason, f"the smallest packet of this frame has {sizes[0]} bytes")
        info = StreamInfo(
            height=height,
            width=width,
            coded_height=coded.shape[0],
            coded_width=coded.shape[1],
            encoding=encoding,
            model_id=self.encoder.model_id,
            fingerprint=self.encoder.fingerprint,
            stream_version=VERSION,
            rate_points=self.encoder.rate_points,
            calibration=calibration,
        )
        news = None if info.same_as(self._announced) else info
        self._announced = info
        sequence, self.sent = self.sent % 2**32, self.sent + 1
        size = (coded.shape[0], coded.shape[1])
        return CodedFrame(packets[choice.rate_point], sequence, choice.rate_point, size, news)

    def _refuse(self, cause: str, text: str) -> Refused:
        self.drops.count(cause)
        self._tell(Event("warning", f"frame dropped ({cause}): {text}", cause, one_frame=True))
        return Refused(cause, text)

    def _tell_of_stamps(self) -> None:
        if self._stamps.problem:
            text = (
                f"header stamps of the images are {self._stamps.problem}: the decoder cannot tell which side image "
                "belongs to a frame and pairs by arrival. Make the camera driver fill header.stamp."
            )
            self._tell(Event("warning", text, "stamps"))
        else:
            self._tell(Event("info", "header stamps of the images advance again", "stamps"))
