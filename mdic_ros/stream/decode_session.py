"""One stream on the workstation: packets and side images in, pictures with reports out."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mdic_ros.codec.bitstream import BitstreamError, BitstreamInfo, inspect
from mdic_ros.codec.decoder import Decoder, ParsedPacket, Reconstruction, SideView
from mdic_ros.codec.images import Image, resize_image
from mdic_ros.errors import MdicError
from mdic_ros.stream.captions import AUTO, CaptionKeeper
from mdic_ros.stream.events import DropCounter, Event, Tell, ignore
from mdic_ros.stream.model_guard import ModelGuard
from mdic_ros.stream.pairing import MissingSide, Pair, Pairer, SideHistory, SideImage
from mdic_ros.stream.reports import DecodeReport, StreamInfo
from mdic_ros.stream.sequence import Arrival, SequenceTracker
from mdic_ros.stream.vertical_disparity import VerticalDisparityTracker

#: Aspect ratios of side and coded image that differ by more than this are of different fields of view.
ASPECT_TOLERANCE = 0.02
#: Side images that are kept as they came while the coded size is not known.
MOST_UNSETTLED = 10


@dataclass(frozen=True)
class DecodeSettings:
    """How to decode; may be replaced between frames.

    Attributes:
        steps: diffusion steps, 1 to 100.
        seed: of the diffusion noise, 0 to 2^31 - 1.
        caption: sentence that conditions the picture; `auto`: the captioner describes the side image; `none` or "": no
            text.
        caption_every: N; the captioner runs on every N-th frame that has a side image.
        rectify: measure by how many rows the side images are off, and correct it.
        sync_slop_s: largest difference of the stamps of packet and side image, in seconds.
        side_wait_s: how long a packet waits for a side image that is not there yet, in seconds.
        on_missing_side: `none` decodes without one, `last` takes the newest there is, `skip` drops the packet.
        side_history_s: how long side images are kept, in seconds: a packet may be that late.
        side_history_mb: memory for them, in 10^6 bytes, at the coded size.
        max_pixels: largest coded image that is decoded while there is no StreamInfo.
    """

    steps: int = 1
    seed: int = 0
    caption: str = AUTO
    caption_every: int = 10
    rectify: bool = True
    sync_slop_s: float = 0.03
    side_wait_s: float = 0.1
    on_missing_side: MissingSide = "none"
    side_history_s: float = 6.0
    side_history_mb: float = 256.0
    max_pixels: int = 1024 * 2048


@dataclass(frozen=True)
class Picture:
    """A decoded frame.

    Attributes:
        image: H x W x 3 uint8 RGB, the coded size.
        mask: H x W uint8, 255 = shared with the side image.
        report: how it was decoded.
        info: the StreamInfo that holds for it; None when there has been none.
        stamp_ns: the packet's stamp.
        tag: what `push_packet` was given with it.
    """

    image: Image
    mask: npt.NDArray[np.uint8]
    report: DecodeReport
    info: StreamInfo | None
    stamp_ns: int
    tag: Any


@dataclass(frozen=True)
class _Packet:
    data: bytes
    header: BitstreamInfo
    sequence: int
    stamp_ns: int
    arrival: float
    tag: Any


class DecodeSession:
    """The behaviour of one decoded stream.

    Anybody may send a packet: until `Decoder.read` has checked it, its header, number and stamp decide nothing but
    whether it is refused, and its size bounds its memory.

    `push_*` are cheap and may be called by one thread while another is in `poll`, which does the work.

    Args:
        decoder: may be shared with other sessions.
        settings: how to decode; assign new ones at any time.
        live: decode the newest whole packet alone when several are due, and count the others as overtaken; else all.
        tell: called with every event: dropped packets, unusable side images, a stream of another model.
    """

    def __init__(
        self,
        decoder: Decoder,
        settings: DecodeSettings | None = None,
        *,
        live: bool = False,
        tell: Tell = ignore,
    ) -> None:
        self.decoder = decoder
        self.settings = settings or DecodeSettings()
        self.drops = DropCounter()
        self.unusable_sides = 0  #: side images that were damaged
        self.without_side = 0  #: pictures that had none
        self.guard = ModelGuard(decoder.model_id, decoder.fingerprint)
        self.sequence = SequenceTracker()
        self.info: StreamInfo | None = None
        self._live, self._tell = live, tell
        self._lock = threading.Lock()  # of what follows, up to the pairer
        self._history = SideHistory(self.settings.side_history_s, 0)
        self._pairer: Pairer[_Packet] = Pairer(0.0, 0.0, "none", self._history)
        self._captions = CaptionKeeper(decoder.caption)
        self._rows = VerticalDisparityTracker(decoder)
        self._odd_shape: tuple[int, ...] = ()
        self._last_size: tuple[int, int] | None = None
        self._miss = ""

    # ---- what comes in

    def push_info(self, info: StreamInfo) -> None:
        """A StreamInfo has come."""
        self.info = info
        if news := self.guard.announced(info.model_id, info.fingerprint, info.stream_version):
            self._tell(news)

    def push_packet(self, data: bytes, sequence: int, stamp_ns: int, now: float, tag: Any = None) -> bool:
        """A packet has come; False when it was refused at once: damaged, too large, of another model.

        Args:
            data: the bitstream.
            sequence: the encoder's counter, uint32.
            stamp_ns: its stamp in nanoseconds.
            now: seconds on a monotonic clock.
            tag: comes back with its picture.
        """
        try:
            header = inspect(data)
        except BitstreamError as error:
            return self.refuse("damaged", str(error))
        if problem := self.guard.refuses(header.fingerprint_byte):
            return self.refuse("wrong_model", problem)
        if problem := self._size_problem(header):
            return self.refuse("damaged", problem)
        if len(data) > (most := self.decoder.max_bytes(header)):
            return self.refuse("damaged", f"it has {len(data)} bytes, one with its header {most} at most")
        with self._lock:
            self._apply_settings()
            self._pairer.add_primary(stamp_ns, _Packet(data, header, sequence, stamp_ns, now, tag), now)
        return True

    def refuse(self, cause: str, text: str) -> bool:
        """Count and tell of a packet that is dropped; False. For its owner, where `push_packet` cannot see the fault.

        Args:
            cause: the word of its counter. text: a sentence for people.
        """
        self.drops.count(cause)
        self._tell(Event("warning", f"packet dropped ({cause}): {text}", cause, one_frame=True))
        return False

    def push_side(self, source: Image | Callable[[], Image], stamp_ns: int, now: float, source_bytes: int = 0) -> None:
        """A side image has come.

        Args:
            source: H x W x 3 uint8 RGB of any size, or a function that returns it or raises ImageError; called by
                `poll`.
            stamp_ns, now: as for packets.
            source_bytes: memory that such a function keeps in use; counts towards `side_history_mb`.
        """
        with self._lock:
            self._apply_settings()
            changed = self._pairer.add_side(SideImage(stamp_ns, now, source, source_bytes))
        if changed:
            self._tell_of_stamps("side images", self._pairer.side_stamps.problem)

    # ---- what comes out

    @property
    def next_deadline(self) -> float | None:
        """When `poll` must be called again at the latest, though nothing comes; None when no packet waits."""
        with self._lock:
            return self._pairer.next_deadline

    @property
    def pairing_problem(self) -> str:
        """Why side images may be wrong or missing, for health reports; empty when nothing is known to be wrong."""
        pairer = self._pairer
        for what, problem in (("packets", pairer.packet_stamps.problem), ("side images", pairer.side_stamps.problem)):
            if problem:
                return f"header stamps of the {what} are {problem}: pairing by arrival"
        return self._miss

    @property
    def rows(self) -> float:
        """By how many rows of the coded size the side image is lower; what is corrected now."""
        return self._rows.likely

    def poll(self, now: float) -> list[Picture]:
        """Decode what is due.

        Args:
            now: seconds, on the clock of the packets; infinity at the end of a recording: nothing is waited for.
        """
        with self._lock:
            self._apply_settings()
            due = list(self._pairer.ready(now))
            for pair in due:
                self._note_miss(pair)
        self._drop_unread([pair for pair in due if pair.skip], "no_side_image")
        wanted = [pair for pair in due if not pair.skip]
        pictures = [self._decode(pair, packet, now) for pair, packet in self._whole(wanted)]
        self._settle_sides()
        return [picture for picture in pictures if picture is not None]

    def _whole(self, wanted: list[Pair[_Packet]]) -> Iterator[tuple[Pair[_Packet], ParsedPacket]]:
        """Those that are whole, with what is in them; live, only the newest of these."""
        if self._live:  # the newest by its number: a late packet may have come last
            wanted = sorted(wanted, key=lambda pair: self.sequence.ahead(pair.primary.sequence), reverse=True)
        for place, pair in enumerate(wanted, 1):
            parsed = self._read(pair.primary)
            if parsed is None:
                continue
            if self._live:
                self._drop_unread(wanted[place:], "overtaken")
            yield pair, parsed
            if self._live:
                return

    def _note_miss(self, pair: Pair[_Packet]) -> None:
        """Says how far the nearest side image is, when packets do not find one."""
        self._miss = ""
        if pair.side is not None:
            return
        nearest = self._history.nearest(pair.primary.stamp_ns)
        if nearest is None:
            self._miss = "there is no side image"
            return
        off = (nearest.stamp_ns - pair.primary.stamp_ns) / 1e9
        self._miss = (
            f"no side image within sync_slop_s = {self.settings.sync_slop_s:g} s: the nearest is {off:+.3f} s off. "
            "Are the clocks of both cameras synchronised?"
        )

    def _drop_unread(self, pairs: list[Pair[_Packet]], cause: str) -> None:
        for pair in pairs:
            self.sequence.unread(pair.primary.sequence)
            self.drops.count(cause)

    def _read(self, packet: _Packet) -> ParsedPacket | None:
        """What is in a packet; None, refused, when it is damaged."""
        if problem := self._size_problem(packet.header):  # StreamInfo may have come since
            self.refuse("damaged", problem)
            return None
        try:
            parsed = self.decoder.read(packet.data, packet.header)
        except BitstreamError as error:
            self.refuse("damaged", str(error))
            return None
        if news := self.guard.confirmed():
            self._tell(news)
        return parsed

    def _decode(self, pair: Pair[_Packet], parsed: ParsedPacket, now: float) -> Picture | None:
        started = time.perf_counter() - parsed.entropy_ms / 1e3  # reading it was part of the work
        settings, packet, info = self.settings, pair.primary, self.info
        arrival = self.sequence.arrived(packet.sequence, packet.stamp_ns)
        if arrival is not Arrival.NEXT:
            self.drops.count(arrival.value)
            return None
        self._last_size = (packet.header.height, packet.header.width)
        with self._lock:
            changed = self._pairer.packet_stamps.add(packet.stamp_ns)
        if changed:
            self._tell_of_stamps("packets", self._pairer.packet_stamps.problem)
        side = self._side_image(pair.side, packet.header)
        caption_started = time.perf_counter()
        caption = self._captions.caption(side, wanted=settings.caption, every=settings.caption_every)
        caption_ms = (time.perf_counter() - caption_started) * 1e3
        try:
            result = self.decoder.decode(
                parsed, self._views(parsed, side), caption=caption, steps=settings.steps, seed=settings.seed
            )
        except MdicError as error:
            self.refuse("damaged", str(error))
            return None
        offset_ms = pair.side_offset_ns / 1e6 if side is not None else math.nan
        self.without_side += side is None
        report = self._report(packet, parsed, result, caption_ms, offset_ms, started, now)
        return Picture(result.image, result.mask, report, info, packet.stamp_ns, packet.tag)

    def _views(self, packet: ParsedPacket, side: Image | None) -> list[SideView]:
        """The views beside the packet: today the side image, or none.

        The one place that makes this list. A further view, such as an earlier picture, is one more entry here; only one
        that comes from outside by its own stamps, such as a third camera, needs a history and a pairer, too.
        """
        if side is None:
            return []
        return [SideView(side, self._rows.row_offset(packet, side) if self.settings.rectify else 0.0)]

    def _report(
        self,
        packet: _Packet,
        parsed: ParsedPacket,
        result: Reconstruction,
        caption_ms: float,
        side_offset_ms: float,
        started: float,
        now: float,
    ) -> DecodeReport:
        stages = {f"{stage}_ms": result.timings.get(stage, 0.0) for stage in ("caption", "side", "denoise", "pixels")}
        stages["caption_ms"] += caption_ms
        return DecodeReport(
            sequence=packet.sequence,
            bytes=len(packet.data),
            rate_point=parsed.rate_point,
            cut=parsed.cut,
            side_used=not math.isnan(side_offset_ms),
            side_offset_ms=side_offset_ms,
            bpp=8 * len(packet.data) / (packet.header.height * packet.header.width),
            caption=result.caption,
            entropy_ms=parsed.entropy_ms,
            **stages,
            decode_ms=(time.perf_counter() - started) * 1e3,
            queue_ms=max(0.0, now - packet.arrival) * 1e3 if math.isfinite(now) else 0.0,
            drops_total=self.drops.total % 2**32,
        )

    # ---- side images

    def _side_image(self, side: SideImage | None, header: BitstreamInfo) -> Image | None:
        """The side image at the coded size, None when there is none or it is damaged."""
        if side is None:
            return None
        size = (header.height, header.width)
        self._settle(side, size)
        return None if side.image is None else resize_image(side.image, *size)

    def _settle_sides(self) -> None:
        """Load what has come, and keep it at the coded size."""
        info = self.info
        size = self._last_size if info is None else (info.coded_height, info.coded_width)
        with self._lock:
            if size is None:
                self._history.keep_unsettled(MOST_UNSETTLED)
            new = [] if size is None else [side for side in self._history if not side.settled]
        for side in new:
            self._settle(side, size)
        with self._lock:
            self._history.trim()

    def _settle(self, side: SideImage, size: tuple[int, int] | None) -> None:
        if side.settled or size is None:
            return
        try:
            side.settle(lambda image: self._scaled(image, size))
        except MdicError as error:
            self.unusable_sides += 1
            self._tell(Event("warning", f"side image not usable: {error}", "bad_side_image", one_frame=True))

    def _scaled(self, image: Image, size: tuple[int, int]) -> Image:
        shape, info = image.shape[:2], self.info
        wanted = (info.height, info.width) if info is not None else size
        if abs(math.log(shape[1] * wanted[0] / (shape[0] * wanted[1]))) > ASPECT_TOLERANCE and shape != self._odd_shape:
            self._odd_shape = shape
            text = (
                f"side images of {shape[0]}x{shape[1]} (height x width) have another shape than the coded camera's "
                f"{wanted[0]}x{wanted[1]}: squeezed to fit they hardly help. Crop both cameras to one field of view."
            )
            self._tell(Event("warning", text, "side_shape"))
        return resize_image(image, *size)

    # ---- what both do

    def _apply_settings(self) -> None:
        settings = self.settings
        self._pairer.slop_s, self._pairer.wait_s = settings.sync_slop_s, settings.side_wait_s
        self._pairer.missing = settings.on_missing_side
        self._history.seconds = settings.side_history_s
        self._history.max_bytes = round(settings.side_history_mb * 1e6)

    def _size_problem(self, header: BitstreamInfo) -> str:
        """Why a packet of this size must not be decoded: a foreign one may claim 4096x4096 pixels."""
        size = f"{header.height}x{header.width}"
        info = self.info
        if info is not None:
            announced = (info.coded_height, info.coded_width)
            if (header.height, header.width) != announced:
                return f"it claims {size}, stream_info says {announced[0]}x{announced[1]}"
        elif header.height * header.width > self.settings.max_pixels:
            return (
                f"it claims {size}, more than the {self.settings.max_pixels} pixels of max_pixels; with a stream_info "
                "of that size, or a higher max_pixels, it is decoded"
            )
        return ""

    def _tell_of_stamps(self, what: str, problem: str) -> None:
        if problem:
            text = (
                f"header stamps of the {what} are {problem}: side images are paired by arrival, which is right only "
                "while both ways take equally long. Make the camera driver fill header.stamp."
            )
            self._tell(Event("warning", text, "stamps"))
        else:
            self._tell(Event("info", f"header stamps of the {what} advance again: pairing by stamp", "stamps"))
