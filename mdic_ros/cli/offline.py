"""Recordings through the sessions of `mdic_ros.stream`, with recorded time in place of a clock.

Every image is coded, none is overtaken. The same recording, model and settings give the same packets and the same
pictures, byte for byte.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mdic_ros.cli.limits import squeeze_note
from mdic_ros.codec.encoder import Encoder
from mdic_ros.datasets import CameraInfo, DatasetError, StereoSource, open_stereo
from mdic_ros.datasets.bag import BagReader, Message, is_bag
from mdic_ros.datasets.bag_stereo import (
    base_topic,
    bitstream_topic,
    decode_image,
    first_camera_info,
    image_topics,
    index_images,
    info_topic,
    pair_topics,
    side_topic,
    stereo_topics,
    unrectified,
)
from mdic_ros.datasets.bag_writer import BagWriter, Storage
from mdic_ros.datasets.export import write_camera
from mdic_ros.datasets.images import RGB
from mdic_ros.datasets.messages import (
    BITSTREAM,
    DECODE_REPORT,
    STREAM_INFO,
    make,
    make_camera_info,
    make_header,
    make_image,
    peek_header,
    stamp_ns,
)
from mdic_ros.datasets.rectify import refuse_unrectified
from mdic_ros.datasets.timing import DEFAULT_SLOP_S, payload_kbps
from mdic_ros.errors import MdicError
from mdic_ros.stream import EncodeSession, EncodeSettings, Refused
from mdic_ros.stream.events import Event
from mdic_ros.stream.reports import StreamInfo, calibration_problem, read_stream_info

if TYPE_CHECKING:  # the workstation's half: this module also runs where only the robot's is installed
    from mdic_ros.codec.decoder import Decoder
    from mdic_ros.stream import DecodeSettings, Picture

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


@dataclass
class Summary:
    """What came of coding a recording.

    Attributes:
        sizes: bytes of each packet, in order.
        rate_points: rate point of each packet.
        stamps: stamps of the frames in ns.
        pixels: pixels of one coded image, of the last frame.
        failures: one sentence for each message that could not be used: frames that the output does not have, side
            images that were damaged, damaged descriptions of the stream.
        notes: sentences about the recording as a whole.
        without_side: pictures that were decoded without a side image.
        unpaired: images of the coded and of the side camera that have no partner.
    """

    sizes: list[int] = field(default_factory=list)
    rate_points: list[int] = field(default_factory=list)
    stamps: list[int] = field(default_factory=list)
    pixels: int = 0
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    without_side: int = 0
    unpaired: tuple[int, int] = (0, 0)

    def add(self, size: int, rate_point: int, stamp_ns: int, pixels: int) -> None:
        """Count a frame."""
        self.sizes.append(size)
        self.rate_points.append(rate_point)
        self.stamps.append(stamp_ns)
        self.pixels = pixels

    def tell(self, event: Event) -> None:
        """Messages of a session. Encoding gives a sentence of its own for each frame that is not sent."""
        if not event.one_frame and event.severity != "info" and event.text not in self.notes:
            self.notes.append(event.text)

    @property
    def mean_bytes(self) -> float:
        """Bytes per frame."""
        return sum(self.sizes) / len(self.sizes) if self.sizes else math.nan

    @property
    def bpp(self) -> float:
        """Bits per pixel of the coded size."""
        return 8 * self.mean_bytes / self.pixels if self.pixels else math.nan

    @property
    def kbps(self) -> float:
        """Payload in kbit/s at the frame rate of the recording; NaN for fewer than two frames."""
        return payload_kbps(self.sizes, self.stamps)


# --- encoding -----------------------------------------------------------------------------------------------


class _BitstreamWriter:
    """Writes what encoder_node would publish for a sequence of images of one camera."""

    def __init__(self, writer: BagWriter, namespace: str, encoder: Encoder, settings: EncodeSettings) -> None:
        self._writer = writer
        self._bitstream, self._info = f"{namespace}/bitstream", f"{namespace}/stream_info"
        writer.add_topic(self._info, STREAM_INFO, latched=True)
        writer.add_topic(self._bitstream, BITSTREAM)
        self.summary = Summary()
        self._session = EncodeSession(encoder, settings, tell=self.summary.tell)

    def write(self, image: RGB, encoding: str, header: Any, camera_info: Any, time_ns: int) -> None:
        """Encode an image and write its packet; a frame that cannot be coded is noted."""
        stamp = stamp_ns(header)
        frame = self._session.push(
            image, stamp, time_ns / 1e9, encoding=encoding, calibration=CameraInfo.from_message(camera_info)
        )
        if isinstance(frame, Refused):
            self.summary.failures.append(f"image at {stamp / 1e9:.6f} s: {frame.text}")
            return
        if frame.info is not None:
            info = make(STREAM_INFO, header=header, **frame.info.facts(), camera_info=camera_info)
            self._writer.write(self._info, info, time_ns)
            note = squeeze_note(frame.size, (frame.info.height, frame.info.width))
            if note and note not in self.summary.notes:
                self.summary.notes.append(note)
        data = np.frombuffer(frame.data, np.uint8)
        self._writer.write(self._bitstream, make(BITSTREAM, header=header, sequence=frame.sequence, data=data), time_ns)
        self.summary.add(len(frame.data), frame.rate_point, stamp, frame.size[0] * frame.size[1])


def encode_recording(
    path: Path,
    output: Path,
    encoder: Encoder,
    settings: EncodeSettings | None = None,
    *,
    storage: Storage = "mcap",
    overwrite: bool = False,
    progress: Progress | None = None,
    **source_options: Any,
) -> Summary:
    """Encode one camera of a stereo recording into a bag.

    The bag has ``bitstream`` and ``stream_info`` in the namespace of the coded camera, e.g.
    ``/kitti/camera_color_left/bitstream``, and the other camera's images and camera_info as they were (files
    as PNG in a CompressedImage): all that :func:`decode_bag` needs, and nothing of the coded image but its
    packets.

    Args:
        path: a recording that :func:`~mdic_ros.datasets.open_stereo` takes.
        output: folder of the bag to write.
        encoder, settings: what encodes, and how. `max_rate_hz` does not count here.
        storage, overwrite: see :class:`~mdic_ros.datasets.bag.BagWriter`.
        progress: called with (frames done, frames in all).
        source_options: passed to ``open_stereo``.

    Raises:
        DatasetError: the recording cannot be read, the bag cannot be written, or not one frame could be
            encoded.
    """
    settings = settings or EncodeSettings()
    layout = source_options.get("layout", "auto")
    rectify_images = source_options.get("rectify_images")
    if not rectify_images and (layout == "bag" or (layout == "auto" and is_bag(path))):
        topics = {k: v for k, v in source_options.items() if k in ("left_topic", "right_topic", "slop_s")}
        with BagReader(path) as reader, BagWriter(output, storage=storage, overwrite=overwrite) as writer:
            return _encode_bag(reader, writer, encoder, settings, progress, rectify_images is None, **topics)
    with (
        open_stereo(path, **source_options) as source,
        BagWriter(output, storage=storage, overwrite=overwrite) as writer,
    ):
        return _encode_source(source, writer, encoder, settings, progress)


def _encode_bag(
    reader: BagReader,
    writer: BagWriter,
    encoder: Encoder,
    settings: EncodeSettings,
    progress: Progress | None,
    only_rectified: bool,
    left_topic: str | None = None,
    right_topic: str | None = None,
    slop_s: float = DEFAULT_SLOP_S,
) -> Summary:
    """All images of the coded camera's topic, paired or not; the messages of the other one pass as they are."""
    topics = reader.topics
    in_order: Any = (lambda pair: pair[::-1]) if settings.view == "right" else (lambda pair: pair)
    side: str | None = None
    try:
        coded, side = in_order(stereo_topics(topics, left_topic, right_topic))
    except DatasetError as error:
        alone, other = in_order((left_topic, right_topic))
        if alone is None or alone not in image_topics(topics) or other is not None:
            raise DatasetError(f"{reader.path}: {error}") from error
        coded = alone  # a recording of the robot alone
    notes: list[str] = []
    camera_infos = {name: _camera_info(reader, name, notes) for name in (coded, side) if name is not None}
    if only_rectified and side is not None:
        for name, info in camera_infos.items():
            refuse_unrectified(reader.path, unrectified(name, None if info is None else CameraInfo.from_message(info)))
    passed = {name for name in (side, info_topic(side) if side else None) if name in topics}
    for name in sorted(passed):
        writer.add_topic(name, topics[name].msgtype)
    stream = _BitstreamWriter(writer, base_topic(coded).rpartition("/")[0], encoder, settings)
    stream.summary.notes += notes
    camera_info = camera_infos[coded] or make_camera_info(make_header(0, ""), None)
    done = 0
    for message in reader.messages([coded, *passed]):
        if message.topic in passed:
            writer.write_bytes(message.topic, message.msgtype, message.data, message.time_ns)
            continue
        try:
            stamp, frame_id = peek_header(message.data)
            image, encoding = decode_image(reader, message, f"image at {stamp / 1e9:.6f} s")
            stream.write(image, encoding, make_header(stamp, frame_id), camera_info, message.time_ns)
        except MdicError as error:
            stream.summary.failures.append(str(error))
        done += 1
        if progress:
            progress(done, topics[coded].count)
    summary = _checked(stream.summary, reader.path, "encoded")
    if side is not None:
        images = index_images(reader, (coded, side))
        pairs = pair_topics(images[coded], images[side], slop_s).pairs
        summary.unpaired = len(images[coded].entries) - len(pairs), len(images[side].entries) - len(pairs)
    return summary


def _camera_info(reader: BagReader, topic: str, notes: list[str]) -> Any | None:
    """The first camera_info beside an image topic; None if there is none, or, with a note, if it cannot be used."""
    message = first_camera_info(reader, topic)
    if message is not None and (field := calibration_problem(message)):
        notes.append(f"the calibration in {info_topic(topic)} is not used: {field} is out of range or too long")
        return None
    return message


def _stamp(message: Message) -> int:
    """The header stamp of a message, its recording time where that cannot be read."""
    try:
        return peek_header(message.data)[0]
    except DatasetError:
        return message.time_ns


def _encode_source(
    source: StereoSource,
    writer: BagWriter,
    encoder: Encoder,
    settings: EncodeSettings,
    progress: Progress | None,
) -> Summary:
    right = settings.view == "right"
    coded, side = (source.right, source.left) if right else (source.left, source.right)
    stream = _BitstreamWriter(writer, coded.namespace, encoder, settings)
    for index, frame in enumerate(source):
        stamp, side_stamp = frame.stamp_ns, frame.right_stamp_ns
        if right:
            stamp, side_stamp = side_stamp, stamp

        def code(frame: Any = frame, stamp: int = stamp) -> None:
            header = make_header(stamp, coded.frame_id)
            image, info = (frame.right, frame.right_info) if right else (frame.left, frame.left_info)
            stream.write(image, coded.encoding, header, make_camera_info(header, info), stamp)

        def keep(frame: Any = frame) -> None:
            frame.check()
            write_camera(writer, side, frame, not right, "png")

        for step in [code, keep] if stamp < side_stamp else [keep, code]:
            try:
                step()
            except MdicError as error:
                sentence = f"frame {frame.name}: {error}"
                if sentence not in stream.summary.failures[-1:]:  # a damaged image that is coded fails both steps
                    stream.summary.failures.append(sentence)
        if progress:
            progress(index + 1, len(source))
    alone = source.unpaired
    stream.summary.unpaired = (alone.right, alone.left) if right else (alone.left, alone.right)
    return _checked(stream.summary, source.path, "encoded")


def _checked(summary: Summary, path: Path, done: str) -> Summary:
    """The summary, unless nothing came of it: then the output must not appear."""
    if not summary.sizes:
        first = summary.failures[0] if summary.failures else "there is none"
        raise DatasetError(f"{path}: not one frame could be {done}; the first: {first}")
    return summary


# --- decoding -----------------------------------------------------------------------------------------------

#: How long packets of a recording wait for their side images and how long these are kept: recorded time costs nothing.
_WAIT_S, _HISTORY_S, _HISTORY_MB = 10.0, 60.0, 512.0


def decode_bag(
    path: Path,
    output: Path,
    decoder: Decoder,
    settings: DecodeSettings | None = None,
    *,
    topic: str | None = None,
    side: str | None = None,
    storage: Storage = "mcap",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Decode the packets of a bag with the side images of the same bag into another bag.

    In the namespace of the coded camera that bag has ``image_reconstructed`` (rgb8), ``mask`` (mono8), ``camera_info``
    (scaled to the coded size) and ``report`` (DecodeReport), under the headers of the packets. The times in the reports
    are measured and differ from run to run; the pictures do not.

    Args:
        path: a bag of :func:`encode_recording`, or a recording of the topics of encoder_node and a side camera.
        output: folder of the bag to write.
        decoder, settings: what decodes, and how. Waiting for side images and keeping them is generous here.
        topic: the Bitstream topic, when there are several.
        side: the image topic of the side camera, when its name does not follow from that of the stream.
        storage, overwrite: see :class:`~mdic_ros.datasets.bag.BagWriter`.
        progress: called with (packets done, packets in all).

    Raises:
        DatasetError: the bag cannot be read, all of its stream is of another model, the output cannot be written, or
            not one packet could be decoded. A packet, a side image or a StreamInfo that is damaged costs itself alone,
            and is in the summary.
    """
    from mdic_ros.stream import DecodeSettings

    settings = replace(
        settings or DecodeSettings(), side_wait_s=_WAIT_S, side_history_s=_HISTORY_S, side_history_mb=_HISTORY_MB
    )
    with BagReader(path) as reader:
        bitstream, side = _topics(reader, topic, side)
        with BagWriter(output, storage=storage, overwrite=overwrite) as writer:
            job = _Decoding(reader, writer, decoder, settings, bitstream, side)
            return _checked(job.run(progress), path, "decoded")


def check_topics(path: Path, topic: str | None = None, side: str | None = None) -> None:
    """Checks what :func:`decode_bag` takes from a bag, for callers that have no decoder yet: loading one takes long.

    Raises:
        DatasetError: the bag cannot be read, has no packets, or not the topics that are named.
    """
    with BagReader(path) as reader:
        _topics(reader, topic, side)


def _topics(reader: BagReader, topic: str | None, side: str | None) -> tuple[str, str | None]:
    """The topic of the packets, and that of the side images if there are any."""
    bitstream = bitstream_topic(reader, topic)
    side = side or side_topic(reader, bitstream)
    images = image_topics(reader.topics)
    if side is not None and side not in images:
        raise DatasetError(
            f"{reader.path}: no images in topic {side}; topics with images: {', '.join(images) or 'none'}"
        )
    return bitstream, side


class _Decoding:
    """One run of :func:`decode_bag`."""

    def __init__(
        self,
        reader: BagReader,
        writer: BagWriter,
        decoder: Decoder,
        settings: DecodeSettings,
        bitstream: str,
        side: str | None,
    ) -> None:
        from mdic_ros.stream import DecodeSession

        self._reader, self._writer = reader, writer
        self._bitstream, self._side = bitstream, side
        self._namespace = bitstream.rpartition("/")[0]
        self.summary = Summary()
        self._session = DecodeSession(decoder, settings, tell=self._tell)
        self._last_info: StreamInfo | None = None

    def run(self, progress: Progress | None) -> Summary:
        """Feed the session with packets and side images in the order of their time."""
        events = self._events()
        total, done = self._reader.topics[self._bitstream].count, 0
        for now, feed, is_packet in events:
            feed(now)
            if is_packet:
                done += 1
            for picture in self._session.poll(now):
                self._write(picture)
            if progress and is_packet:
                progress(done, total)
        for picture in self._session.poll(math.inf):
            self._write(picture)
        self.summary.without_side = self._session.without_side
        return self.summary

    def _packets(self) -> list[tuple[Message, StreamInfo | None]]:
        """Packets with the StreamInfo that holds for them: the last good one before, or the first good one of all.

        Raises:
            DatasetError: all StreamInfos are of another model.
        """
        packets: list[tuple[Message, StreamInfo | None]] = []
        infos: list[StreamInfo] = []
        for message in self._reader.messages([f"{self._namespace}/stream_info", self._bitstream]):
            if message.topic == self._bitstream:
                packets.append((message, infos[-1] if infos else None))
            elif message.msgtype == STREAM_INFO:
                try:
                    infos.append(read_stream_info(self._reader.decode(message), CameraInfo.from_message))
                except MdicError as error:
                    self.summary.failures.append(f"stream_info recorded at {message.time_ns / 1e9:.6f} s: {error}")
        ours = self._session.decoder
        if infos and all(info.fingerprint != ours.fingerprint for info in infos):
            raise DatasetError(
                f"{self._reader.path} was encoded with the model {infos[0].model_id} ({infos[0].fingerprint[:8]}), "
                f"this is {ours.model_id} ({ours.fingerprint[:8]}); name the right one with --model"
            )
        return [(message, info or next(iter(infos), None)) for message, info in packets]

    def _events(self) -> list[tuple[float, Callable[[float], None], bool]]:
        """(seconds, what to feed, whether it is a packet). By stamps, or by recording time where stamps repeat."""
        packets = self._packets()
        images = index_images(self._reader, [self._side])[self._side] if self._side else None
        entries = images.entries if images else []
        stamps = [_stamp(message) for message, _ in packets]
        unique = all(len(set(found)) == len(found) for found in (stamps, [entry.stamp_ns for entry in entries]))
        timed: list[tuple[int, bool, Callable[[float], None]]] = []
        for index, entry in enumerate(entries):
            assert images is not None
            load = partial(images.load, index)
            timed.append(
                (entry.stamp_ns if unique else entry.time_ns, False, partial(self._push_side, load, entry.stamp_ns))
            )
        for (message, info), stamp in zip(packets, stamps, strict=True):
            timed.append((stamp if unique else message.time_ns, True, partial(self._push_packet, message, info, stamp)))
        timed.sort(key=lambda event: event[:2])  # side images first where times are equal
        start = timed[0][0] if timed else 0
        return [((time - start) / 1e9, feed, is_packet) for time, is_packet, feed in timed]

    def _push_side(self, load: Callable[[], RGB], stamp: int, now: float) -> None:
        self._session.push_side(load, stamp, now)

    def _push_packet(self, message: Message, info: StreamInfo | None, stamp: int, now: float) -> None:
        if info is not None and info is not self._last_info:
            self._last_info = info
            self._session.push_info(info)
        try:
            packet = self._reader.decode(message)
        except DatasetError as error:
            self.summary.failures.append(f"packet recorded at {message.time_ns / 1e9:.6f} s: {error}")
            return
        self._session.push_packet(bytes(packet.data), packet.sequence, stamp, now, tag=(packet.header, message.time_ns))

    def _tell(self, event: Event) -> None:
        if event.one_frame:
            self.summary.failures.append(event.text)
        else:
            self.summary.tell(event)

    def _write(self, picture: Picture) -> None:
        header, time_ns = picture.tag
        height, width = picture.image.shape[:2]
        messages = {
            "image_reconstructed": make_image(header, picture.image),
            "mask": make_image(header, picture.mask, "mono8"),
        }
        if picture.info is not None and picture.info.calibration is not None:
            messages["camera_info"] = make_camera_info(header, picture.info.calibration.scaled(height, width))
        messages["report"] = make(DECODE_REPORT, header=header, **picture.report.fields())
        for name, message in messages.items():
            self._writer.write(f"{self._namespace}/{name}", message, time_ns)
        self.summary.add(picture.report.bytes, picture.report.rate_point, picture.stamp_ns, height * width)


def decode_packet(data: bytes, side: RGB | None, decoder: Decoder, settings: DecodeSettings, name: str) -> Picture:
    """Decode one packet.

    Args:
        data: the packet. side: its side image, H x W x 3 uint8 RGB of any size; None = without one.
        decoder, settings: what decodes, and how.
        name: of the packet, for messages.

    Raises:
        MdicError: it cannot be decoded: damaged, too large, of another model.
    """
    from mdic_ros.stream import DecodeSession

    told: list[Event] = []
    session = DecodeSession(decoder, settings, tell=told.append)
    if side is not None:
        session.push_side(side, 1, 0.0)
    session.push_packet(data, 0, 1, 0.0)
    pictures = session.poll(math.inf)
    if not pictures:
        raise MdicError(f"{name}: {' '.join(event.text for event in told)}")
    for event in told:
        log.warning("%s", event.text)
    return pictures[0]
