"""Recordings through the codec without a running ROS: what encoder_node and decoder_node do, frame by frame.

Nothing here depends on time: every image is coded, none is overtaken, and side images are paired by their stamps.
The same recording, model and settings give the same packets and the same pictures, byte for byte.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .codec import BitstreamError, Decoder, Encoder, RowKeeper, View, inspect
from .datasets import CameraInfo, DatasetError, ImageError, StereoSource, open_stereo
from .datasets.bag import (
    BITSTREAM,
    DECODE_REPORT,
    STREAM_INFO,
    BagReader,
    BagWriter,
    Message,
    Storage,
    is_bag,
    make,
    make_camera_info,
    make_header,
    make_image,
    nearest,
    payload_kbps,
    peek_header,
)
from .datasets.bag_stereo import (
    DEFAULT_SLOP_S,
    ImageTopic,
    base_topic,
    bitstream_topic,
    decode_image,
    first_camera_info,
    image_topics,
    index_images,
    info_topic,
    side_topic,
    stereo_topics,
)
from .datasets.export import write_camera
from .datasets.images import RGB, resize_image

Progress = Callable[[int, int], None]


@dataclass
class Summary:
    """What came of coding a recording.

    Attributes:
        sizes: bytes of each packet, in order.
        rate_points: rate point of each packet.
        stamps: stamps of the frames in ns.
        pixels: pixels of one coded image, of the last frame.
        failures: one sentence for each frame that could not be coded, which the output does not have.
        without_side: pictures that were decoded without a side image.
    """

    sizes: list[int] = field(default_factory=list)
    rate_points: list[int] = field(default_factory=list)
    stamps: list[int] = field(default_factory=list)
    pixels: int = 0
    failures: list[str] = field(default_factory=list)
    without_side: int = 0

    def add(self, size: int, rate_point: int, stamp_ns: int, pixels: int) -> None:
        """Count a frame."""
        self.sizes.append(size)
        self.rate_points.append(rate_point)
        self.stamps.append(stamp_ns)
        self.pixels = pixels

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


@dataclass(frozen=True)
class EncodeOptions:
    """How to encode.

    Attributes:
        rate_point: 0 (coarsest) to ``encoder.rate_points - 1``; None for the finest.
        max_bytes: no packet larger than this; the finest rate point that fits is taken.
        size: (height, width) to code at; None for the size of the source.
        view: the camera to code; the other one's images are the side images.
    """

    rate_point: int | None = None
    max_bytes: int | None = None
    size: tuple[int, int] | None = None
    view: View = "left"


class _BitstreamWriter:
    """Writes what encoder_node would publish for a sequence of images of one camera."""

    def __init__(self, writer: BagWriter, namespace: str, encoder: Encoder, options: EncodeOptions) -> None:
        self._writer, self._encoder, self._options = writer, encoder, options
        self._bitstream, self._info = f"{namespace}/bitstream", f"{namespace}/stream_info"
        writer.add_topic(self._info, STREAM_INFO, latched=True)
        writer.add_topic(self._bitstream, BITSTREAM)
        self._announced: bytes | None = None
        self.summary = Summary()

    def write(self, image: RGB, encoding: str, header: Any, camera_info: Any, time_ns: int) -> None:
        """Encode an image. Raises ValueError when that cannot be done (too small, max_bytes too low)."""
        options = self._options
        coded = resize_image(image, *(options.size or image.shape[:2]))
        packet = self._encoder.encode(
            coded, rate_point=options.rate_point, max_bytes=options.max_bytes, view=options.view
        )
        parsed = inspect(packet)
        self._announce(image, coded, encoding, header, camera_info, parsed.version, time_ns)
        data = np.frombuffer(packet, np.uint8)
        sequence = len(self.summary.sizes) % 2**32
        self._writer.write(self._bitstream, make(BITSTREAM, header=header, sequence=sequence, data=data), time_ns)
        stamp = header.stamp.sec * 1_000_000_000 + header.stamp.nanosec
        self.summary.add(len(packet), parsed.rate_point, stamp, coded.shape[0] * coded.shape[1])

    def _announce(
        self, image: RGB, coded: RGB, encoding: str, header: Any, camera_info: Any, version: int, time_ns: int
    ) -> None:
        """Write StreamInfo in front of the first packet, and again when something in it changes."""
        facts = {
            "height": image.shape[0],
            "width": image.shape[1],
            "coded_height": coded.shape[0],
            "coded_width": coded.shape[1],
            "encoding": encoding,
            "model_id": self._encoder.model_id,
            "fingerprint": self._encoder.fingerprint,
            "stream_version": version,
            "rate_points": self._encoder.rate_points,
        }
        numbers = [np.asarray(getattr(camera_info, name)).tolist() for name in ("height", "width", "d", "k", "r", "p")]
        announced = repr((facts, numbers)).encode()
        if announced != self._announced:
            self._announced = announced
            self._writer.write(self._info, make(STREAM_INFO, header=header, **facts, camera_info=camera_info), time_ns)


def encode_recording(
    path: Path,
    output: Path,
    encoder: Encoder,
    options: EncodeOptions | None = None,
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
        encoder, options: what encodes, and how.
        storage, overwrite: see :class:`~mdic_ros.datasets.bag.BagWriter`.
        progress: called with (frames done, frames in all).
        source_options: passed to ``open_stereo``.

    Raises:
        DatasetError: the recording cannot be read, the bag cannot be written, or not one frame could be
            encoded.
    """
    options = options or EncodeOptions()
    layout = source_options.get("layout", "auto")
    if layout == "bag" or (layout == "auto" and is_bag(path)):
        topics = {k: v for k, v in source_options.items() if k in ("left_topic", "right_topic")}
        with BagReader(path) as reader, BagWriter(output, storage=storage, overwrite=overwrite) as writer:
            return _encode_bag(reader, writer, encoder, options, progress, **topics)
    with (
        open_stereo(path, **source_options) as source,
        BagWriter(output, storage=storage, overwrite=overwrite) as writer,
    ):
        return _encode_source(source, writer, encoder, options, progress)


def _encode_bag(
    reader: BagReader,
    writer: BagWriter,
    encoder: Encoder,
    options: EncodeOptions,
    progress: Progress | None,
    left_topic: str | None = None,
    right_topic: str | None = None,
) -> Summary:
    """All images of the coded camera's topic, paired or not; the messages of the other one pass as they are."""
    topics = reader.topics
    in_order: Any = (lambda pair: pair[::-1]) if options.view == "right" else (lambda pair: pair)
    side: str | None = None
    try:
        coded, side = in_order(stereo_topics(topics, left_topic, right_topic))
    except DatasetError as error:
        alone, other = in_order((left_topic, right_topic))
        if alone is None or alone not in image_topics(topics) or other is not None:
            raise DatasetError(f"{reader.path}: {error}") from error
        coded = alone  # a recording of the robot alone
    passed = {name for name in (side, info_topic(side) if side else None) if name in topics}
    for name in sorted(passed):
        writer.add_topic(name, topics[name].msgtype)
    stream = _BitstreamWriter(writer, base_topic(coded).rpartition("/")[0], encoder, options)
    camera_info = first_camera_info(reader, coded)
    if camera_info is None:
        camera_info = make_camera_info(make_header(0, ""), None)
    done = 0
    for message in reader.messages([coded, *passed]):
        if message.topic in passed:
            writer.write_bytes(message.topic, message.msgtype, message.data, message.time_ns)
            continue
        try:
            stamp, frame_id = peek_header(message.data)
            name = f"image at {stamp / 1e9:.6f} s"
            image, encoding = decode_image(reader, message, name)
            stream.write(image, encoding, make_header(stamp, frame_id), camera_info, message.time_ns)
        except ValueError as error:
            stream.summary.failures.append(str(error))
        done += 1
        if progress:
            progress(done, topics[coded].count)
    return _checked(stream.summary, reader.path, "encoded")


def _encode_source(
    source: StereoSource,
    writer: BagWriter,
    encoder: Encoder,
    options: EncodeOptions,
    progress: Progress | None,
) -> Summary:
    right = options.view == "right"
    coded, side = (source.right, source.left) if right else (source.left, source.right)
    stream = _BitstreamWriter(writer, coded.namespace, encoder, options)
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
            except ValueError as error:
                sentence = f"frame {frame.name}: {error}"
                if sentence not in stream.summary.failures[-1:]:  # a damaged image that is coded fails both steps
                    stream.summary.failures.append(sentence)
        if progress:
            progress(index + 1, len(source))
    return _checked(stream.summary, source.path, "encoded")


def _checked(summary: Summary, path: Path, done: str) -> Summary:
    """The summary, unless nothing came of it: then the output must not appear."""
    if not summary.sizes:
        first = summary.failures[0] if summary.failures else "there is none"
        raise DatasetError(f"{path}: not one frame could be {done}; the first: {first}")
    return summary


# --- decoding -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DecodeOptions:
    """How to decode.

    Attributes:
        steps, seed: diffusion steps and seed of their noise.
        caption: sentence to use instead of the captioner's; None to look at the side image.
        caption_every: run the captioner on every so many frames that have a side image.
        slop_s: largest difference of the stamps of packet and side image in seconds.
        rectify: measure by how many rows the side images are off, and correct it.
    """

    steps: int = 1
    seed: int = 0
    caption: str | None = None
    caption_every: int = 10
    slop_s: float = DEFAULT_SLOP_S
    rectify: bool = True


class _Captions:
    """The caption of the last side image that was described."""

    def __init__(self, decoder: Decoder, options: DecodeOptions) -> None:
        self._decoder, self._options = decoder, options
        self._last, self._uses = "", 0

    def of(self, side: RGB | None) -> str:
        if self._options.caption is not None:
            return self._options.caption
        if side is None:
            return ""
        if self._uses % self._options.caption_every == 0:
            self._last = self._decoder.caption(side)
        self._uses += 1
        return self._last


def _streams(reader: BagReader, info: str, bitstream: str) -> Iterator[tuple[Message, Any | None]]:
    """Packets with the StreamInfo that holds for them: the last one before, or the first of all."""
    current = None
    if info in reader.topics and reader.topics[info].msgtype == STREAM_INFO:
        for message in reader.messages([info]):
            current = reader.decode(message)
            break
    for message in reader.messages([info, bitstream]):
        if message.topic == bitstream:
            yield message, current
        elif message.msgtype == STREAM_INFO:
            current = reader.decode(message)


def decode_bag(
    path: Path,
    output: Path,
    decoder: Decoder,
    options: DecodeOptions | None = None,
    *,
    topic: str | None = None,
    side: str | None = None,
    storage: Storage = "mcap",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Decode the packets of a bag with the side images of the same bag into another bag.

    In the namespace of the coded camera that bag has ``image_reconstructed`` (rgb8), ``mask`` (mono8),
    ``camera_info`` (scaled to the coded size) and ``report`` (DecodeReport), under the headers of the
    packets. The times in the reports are measured and differ from run to run; the pictures do not.

    Args:
        path: a bag of :func:`encode_recording`, or a recording of the topics of encoder_node and a side
            camera.
        output: folder of the bag to write.
        decoder, options: what decodes, and how.
        topic: the Bitstream topic, when there are several.
        side: the image topic of the side camera, when its name does not follow from that of the stream.
        storage, overwrite: see :class:`~mdic_ros.datasets.bag.BagWriter`.
        progress: called with (packets done, packets in all).

    Raises:
        DatasetError: the bag cannot be read, its stream is of another model, the output cannot be written, or
            not one packet could be decoded.
    """
    options = options or DecodeOptions()
    with BagReader(path) as reader:
        bitstream = bitstream_topic(reader, topic)
        side = side or side_topic(reader, bitstream)
        if side is not None and side not in image_topics(reader.topics):
            raise DatasetError(
                f"{path}: no images in topic {side}; topics with images: "
                f"{', '.join(image_topics(reader.topics)) or 'none'}"
            )
        with BagWriter(output, storage=storage, overwrite=overwrite) as writer:
            job = _Decoding(reader, writer, decoder, options, bitstream, side)
            for index, (message, info) in enumerate(_streams(reader, job.info_topic, bitstream)):
                job.frame(message, info)
                if progress:
                    progress(index + 1, reader.topics[bitstream].count)
            return _checked(job.summary, path, "decoded")


class _Decoding:
    """One run of :func:`decode_bag`."""

    def __init__(
        self,
        reader: BagReader,
        writer: BagWriter,
        decoder: Decoder,
        options: DecodeOptions,
        bitstream: str,
        side: str | None,
    ) -> None:
        self._reader, self._writer, self._decoder, self._options = reader, writer, decoder, options
        self._namespace = bitstream.rpartition("/")[0]
        self.info_topic = f"{self._namespace}/stream_info"
        self._sides: ImageTopic | None = index_images(reader, [side])[side] if side else None
        self._stamps = self._sides.stamps if self._sides else []
        self._captions = _Captions(decoder, options)
        self._rows = RowKeeper(decoder)
        self._checked_info: Any = None
        self._drops = 0
        self.summary = Summary()

    def frame(self, message: Message, info: Any | None) -> None:
        """Decode a packet; a bad one is noted and left out."""
        self._check_model(info)
        try:
            self._decode(message, info)
        except (BitstreamError, DatasetError) as error:
            self.summary.failures.append(f"packet recorded at {message.time_ns / 1e9:.6f} s: {error}")
            self._drops += 1

    def _check_model(self, info: Any | None) -> None:
        if info is None or info is self._checked_info:
            return
        self._checked_info = info
        if info.fingerprint != self._decoder.fingerprint:
            raise DatasetError(
                f"{self._reader.path} was encoded with the model {info.model_id} ({info.fingerprint[:8]}), "
                f"this is {self._decoder.model_id} ({self._decoder.fingerprint[:8]}); "
                "name the right one with --model"
            )

    def _side_image(self, stamp: int, height: int, width: int) -> tuple[RGB | None, float]:
        """The side image at the coded size, and its stamp minus ``stamp`` in ms; None if damaged."""
        index = nearest(self._stamps, stamp, round(self._options.slop_s * 1e9))
        if index is None or self._sides is None:
            return None, math.nan
        try:
            image = self._sides.load(index)
        except ImageError as error:
            self.summary.failures.append(f"side image: {error}")
            return None, math.nan
        return resize_image(image, height, width), (self._stamps[index] - stamp) / 1e6

    def _decode(self, message: Message, info: Any | None) -> None:
        started = time.perf_counter()
        stamp, _ = peek_header(message.data)
        packet = self._reader.decode(message)
        data = bytes(packet.data)
        parsed = inspect(data)
        side, offset_ms = self._side_image(stamp, parsed.height, parsed.width)
        caption_started = time.perf_counter()
        caption = self._captions.of(side)
        caption_ms = (time.perf_counter() - caption_started) * 1000
        options = self._options
        rows = self._rows.row_offset(data, side) if options.rectify else 0.0
        result = self._decoder.decode(
            data, side, caption=caption, steps=options.steps, seed=options.seed, row_offset=rows
        )
        timings = dict(result.timings)
        timings["caption"] = timings.get("caption", 0.0) + caption_ms
        report = make(
            DECODE_REPORT,
            header=packet.header,
            sequence=packet.sequence,
            bytes=len(data),
            rate_point=result.rate_point,
            cut=result.cut,
            side_used=side is not None,
            side_offset_ms=offset_ms,
            bpp=8 * len(data) / (parsed.height * parsed.width),
            caption=result.caption,
            decode_ms=(time.perf_counter() - started) * 1000,
            queue_ms=0.0,
            age_ms=math.nan,
            drops_total=self._drops,
            **{f"{stage}_ms": timings[stage] for stage in ("entropy", "caption", "side", "denoise", "pixels")},
        )
        self._write("image_reconstructed", make_image(packet.header, result.image), message.time_ns)
        self._write("mask", make_image(packet.header, result.mask, "mono8"), message.time_ns)
        camera = CameraInfo.from_message(info.camera_info) if info is not None else None
        if camera is not None:
            scaled = make_camera_info(packet.header, camera.scaled(parsed.height, parsed.width))
            self._write("camera_info", scaled, message.time_ns)
        self._write("report", report, message.time_ns)
        self.summary.add(len(data), result.rate_point, stamp, parsed.height * parsed.width)
        self.summary.without_side += side is None

    def _write(self, name: str, message: Any, time_ns: int) -> None:
        self._writer.write(f"{self._namespace}/{name}", message, time_ns)
