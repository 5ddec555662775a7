"""decoder_node: bitstream and side images in, pictures out. Runs on the workstation."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, NoReturn

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mdic_ros.msg import Bitstream, DecodeReport, StreamInfo
from mdic_ros.nodes import camera_info, qos
from mdic_ros.nodes.captions import CaptionKeeper
from mdic_ros.nodes.diagnostics import Diagnostics, Health, Level, Meter, drop_values
from mdic_ros.nodes.image_conversion import (
    RGB,
    ImageError,
    compressed_to_rgb,
    fill_image,
    message_to_rgb,
    resize_image,
)
from mdic_ros.nodes.model_guard import ModelGuard
from mdic_ros.nodes.pairing import Arrival, Pair, Pairer, SequenceTracker
from mdic_ros.nodes.parameters import DECODER, Parameters
from mdic_ros.nodes.runtime import age_ms, load_model, run, stamp_ns
from mdic_ros.nodes.worker import DropCounter, Worker

_WAIT_TICK_S = 0.01


@dataclass(frozen=True)
class Received:
    """A Bitstream message and when it came, in seconds of the monotonic clock."""

    message: Bitstream
    data: bytes
    time: float


class DecoderNode(Node):
    """The executor thread receives and pairs; `_decode` and everything it calls run in the worker thread."""

    def __init__(self, **options: Any) -> None:
        super().__init__("decoder", **options)
        from mdic_ros.codec import BitstreamError, Decoder, RowKeeper, inspect  # late, as in encoder_node

        self._settings = Parameters(self, DECODER)
        start = self._settings.read()
        self._decoder = load_model(Decoder.from_pretrained, start.model, start.device)
        self._inspect, self._bad_packet = inspect, BitstreamError

        self._input, self._output, self._side_input = Meter(), Meter(), Meter()
        self._decode_ms, self._age = Meter(), Meter()
        self._drops, self._bad_sides = DropCounter(), DropCounter()
        self._sequence = SequenceTracker()
        self._guard = ModelGuard(self._decoder.model_id, self._decoder.fingerprint)
        self._captions = CaptionKeeper(self._decoder.caption)
        self._rows = RowKeeper(self._decoder)
        self._pairer: Pairer[Received, Any] = Pairer(start.sync_slop_s, start.side_wait_s, start.on_missing_side)
        self._info: StreamInfo | None = None

        overridable = {"qos_overriding_options": qos.overridable()}
        self._image = self.create_publisher(Image, "image_reconstructed", qos.IMAGE, **overridable)
        self._mask = self.create_publisher(Image, "mask", qos.IMAGE, **overridable)
        self._camera_info = self.create_publisher(CameraInfo, "camera_info", qos.IMAGE, **overridable)
        self._report = self.create_publisher(DecodeReport, "report", qos.REPORT, **overridable)
        self._worker: Worker[Pair[Received, Any]] = Worker(
            self._decode,
            on_overtaken=lambda _: self._drops.count("overtaken"),
            on_error=self._failed,
            name="decode",
        )
        self.create_subscription(StreamInfo, "stream_info", self._on_info, qos.STREAM_INFO)
        compressed = start.side_transport == "compressed"
        self._to_rgb = compressed_to_rgb if compressed else message_to_rgb
        self._sides = qos.AdaptiveSubscription(
            self,
            CompressedImage if compressed else Image,
            qos.transport_topic(self, "side/image", start.side_transport),
            self._on_side,
            depth=2,
            reliability=start.reliability,
        )
        self._packets = qos.AdaptiveSubscription(
            self, Bitstream, "bitstream", self._on_bitstream, depth=10, reliability=start.reliability
        )
        # Runs only while a frame waits for its side image. A steady clock: /clock may stand still.
        self._tick = self.create_timer(_WAIT_TICK_S, self._advance, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._tick.cancel()
        self._diagnostics = Diagnostics(self, self._decoder.model_id, self._health)
        self.get_logger().info(
            f"decoder ready: {self._decoder.model_id} {self._decoder.fingerprint[:8]}, {start.device}; "
            f"{self._packets.topic} + {self._sides.topic} -> {self._image.topic_name}"
        )

    def stop(self, timeout: float) -> bool:
        return self._worker.stop(timeout)

    # ---- executor thread

    def _on_info(self, message: StreamInfo) -> None:
        self._info = message
        self._tell(self._guard.announced(message.model_id, message.fingerprint, message.stream_version))

    def _on_bitstream(self, message: Bitstream) -> None:
        data = message.data.tobytes()
        self._input.add(len(data))
        arrival = self._sequence.arrived(message.sequence, stamp_ns(message.header))
        if arrival is not Arrival.NEXT:
            self._drops.count(arrival.value)
            return
        try:
            allowed, news = self._guard.packet(self._inspect(data).fingerprint_byte)
        except self._bad_packet as error:
            self._refuse("damaged", str(error))
            return
        self._tell(news)
        if not allowed:
            self._drops.count("wrong_model")
            return
        now = time.monotonic()
        self._pairer.wait_s = self._settings["side_wait_s"]
        self._pairer.add_primary(stamp_ns(message.header), Received(message, data, now), now)
        self._advance()

    def _on_side(self, message: Any) -> None:
        self._side_input.add()
        self._pairer.add_side(stamp_ns(message.header), message)
        self._advance()

    def _advance(self) -> None:
        """Hand on the frames whose side image is there, or is waited for no longer."""
        self._pairer.slop_s = self._settings["sync_slop_s"]
        self._pairer.missing = self._settings["on_missing_side"]
        for pair in self._pairer.ready(time.monotonic()):
            if pair.skip:
                self._drops.count("no_side_image")
            else:
                self._worker.submit(pair)
        if self._pairer.next_deadline is None:
            self._tick.cancel()
        elif self._tick.is_canceled():
            self._tick.reset()

    def _tell(self, news: tuple[bool, str] | None) -> None:
        if news is None:
            return
        good, text = news
        if good:  # two lines: rclpy allows one severity for each line of code
            self.get_logger().info(text)
        else:
            self.get_logger().error(text)

    def _health(self) -> Health:
        health = Health()
        if self._guard.problem is not None:
            health.worse(Level.ERROR, self._guard.problem)
        if self._input.seconds_since_last > 2.0:
            health.worse(Level.WARN, f"no bitstream on {self._packets.topic}")
        elif self._output.seconds_since_last > 2.0:
            health.worse(Level.WARN, "packets come in, no picture comes out; see the drops")
        if self._side_input.seconds_since_last > 2.0:
            health.worse(Level.WARN, f"no side image on {self._sides.topic}")
        if self._info is None:
            health.worse(Level.WARN, "no stream_info yet: camera_info cannot be published")
        health.values = {
            "model": self._decoder.model_id,
            "fingerprint": self._decoder.fingerprint,
            "packets in (Hz)": f"{self._input.rate_hz:.2f}",
            "payload in (kbit/s)": f"{self._input.per_second * 8 / 1000:.2f}",
            "side images in (Hz)": f"{self._side_input.rate_hz:.2f}",
            "side images not usable": str(self._bad_sides.total),
            "pictures out (Hz)": f"{self._output.rate_hz:.2f}",
            "decode time (ms)": f"{self._decode_ms.mean:.1f}",
            "age of the pictures (ms)": f"{self._age.mean:.1f}",
            "side image lower by (px)": f"{self._rows.likely:.2f}" if self._settings["rectify"] else "not measured",
            "lost on the link": str(self._sequence.lost),
            "encoder restarts": str(self._sequence.restarts),
            **drop_values(self._drops.by_cause()),
        }
        return health

    # ---- worker thread

    def _decode(self, pair: Pair[Received, Any]) -> None:
        started = time.monotonic()
        settings = self._settings.read()
        received, message = pair.primary, pair.primary.message
        try:
            header = self._inspect(received.data)
            stream = self._info
            if stream is not None and (header.height, header.width) != (stream.coded_height, stream.coded_width):
                # Before any work: a foreign packet may claim 4096x4096 pixels, and each costs the whole network.
                expected = f"{stream.coded_height}x{stream.coded_width}"
                self._refuse("damaged", f"it claims {header.height}x{header.width}, stream_info says {expected}")
                return
            side = self._side_image(pair.side, header.height, header.width)
            caption_started = time.monotonic()
            caption = self._captions.caption(side, fixed=settings.caption, every=settings.caption_every)
            caption_ms = (time.monotonic() - caption_started) * 1000
            rows = self._rows.row_offset(received.data, side) if settings.rectify else 0.0
            result = self._decoder.decode(
                received.data, side, caption=caption, steps=settings.steps, seed=settings.seed, row_offset=rows
            )
        except self._bad_packet as error:
            self._refuse("damaged", str(error))
            return
        decode_ms = (time.monotonic() - started) * 1000
        height, width = result.image.shape[:2]
        image, mask = Image(header=message.header), Image(header=message.header)
        fill_image(image, result.image, "rgb8")
        fill_image(mask, result.mask, "mono8")
        age = age_ms(self.get_clock().now().nanoseconds, stamp_ns(message.header))
        report = DecodeReport(
            header=message.header,
            sequence=message.sequence,
            bytes=len(received.data),
            rate_point=result.rate_point,
            cut=result.cut,
            side_used=side is not None,
            side_offset_ms=pair.side_offset_ns / 1e6 if side is not None else math.nan,
            bpp=8 * len(received.data) / (height * width),
            caption=result.caption,
            caption_ms=caption_ms + result.timings.get("caption", 0.0),
            decode_ms=decode_ms,
            queue_ms=(started - received.time) * 1000,
            age_ms=age,
            drops_total=self._drops.total % 2**32,
            **{f"{stage}_ms": result.timings[stage] for stage in ("entropy", "side", "denoise", "pixels")},
        )
        self._image.publish(image)
        self._publish_camera_info(message.header, height, width)
        self._mask.publish(mask)
        self._report.publish(report)
        self._output.add()
        self._decode_ms.add(decode_ms)
        if not math.isnan(age):
            self._age.add(age)

    def _side_image(self, message: Any, height: int, width: int) -> RGB | None:
        """The side image at the coded size; None when there is none or it cannot be used."""
        if message is None:
            return None
        try:
            return resize_image(self._to_rgb(message), height, width)
        except ImageError as error:
            self._bad_sides.count("bad_side_image")
            self.get_logger().warning(f"side image not usable: {error}", throttle_duration_sec=5.0)
            return None

    def _publish_camera_info(self, header: Any, height: int, width: int) -> None:
        """The calibration of the source camera, for the size of the picture."""
        stream = self._info
        if stream is None or not camera_info.is_known(stream.camera_info):
            return
        if (height, width) == (stream.height, stream.width):
            message = copy(stream.camera_info)
        else:
            message = camera_info.for_image(stream.camera_info, height, width)
        message.header = header
        self._camera_info.publish(message)

    def _refuse(self, cause: str, text: str) -> None:
        self._drops.count(cause)
        self.get_logger().warning(f"packet dropped ({cause}): {text}", throttle_duration_sec=5.0)

    def _failed(self, _: Any, error: Exception) -> None:
        if self.context.ok():
            self._refuse("error", f"{type(error).__name__}: {error}")


def main(args: Sequence[str] | None = None) -> NoReturn:
    run("decoder", DecoderNode, args)


if __name__ == "__main__":
    main()
