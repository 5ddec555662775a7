"""decoder_node: bitstream and side images in, pictures out. Runs on the workstation."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mdic_ros.datasets.calibration import CameraInfo as Calibration
from mdic_ros.datasets.images import from_compressed_message, from_image_message
from mdic_ros.datasets.messages import stamp_ns
from mdic_ros.errors import MdicError
from mdic_ros.msg import Bitstream, DecodeReport, StreamInfo
from mdic_ros.nodes import qos
from mdic_ros.nodes.camera_info import to_message
from mdic_ros.nodes.diagnostics import Diagnostics, Health, Level, Meter, drop_values
from mdic_ros.nodes.image_conversion import fill_image
from mdic_ros.nodes.parameters import DECODER, Parameters
from mdic_ros.nodes.runtime import bug, load_model, run
from mdic_ros.nodes.session_log import SessionLog
from mdic_ros.nodes.worker import Worker
from mdic_ros.stream.events import Event
from mdic_ros.stream.reports import MAX_FRAME_ID, age_ms, read_stream_info

_WAIT_TICK_S = 0.01


class DecoderNode(Node):
    """The executor thread receives; `_poll` and everything it calls run in the worker thread."""

    def __init__(self, **options: Any) -> None:
        super().__init__("decoder", **options)
        from mdic_ros.codec import Decoder  # late, as in encoder_node
        from mdic_ros.stream import DecodeSession, DecodeSettings

        self._settings = Parameters(self, DECODER)
        start = self._settings.read()
        self._decoder = load_model(
            Decoder.from_pretrained, start.model, device=start.device, dtype=start.dtype, threads=start.threads
        )
        self._log = SessionLog(self.get_logger())
        self._session = DecodeSession(self._decoder, live=True, tell=self._log)
        self._make_settings = DecodeSettings
        self._names = [field.name for field in dataclasses.fields(DecodeSettings)]

        self._input, self._output, self._side_input = Meter(), Meter(), Meter()
        self._decode_ms, self._age = Meter(), Meter()

        overridable = {"qos_overriding_options": qos.overridable()}
        self._image = self.create_publisher(Image, "image_reconstructed", qos.IMAGE, **overridable)
        self._mask = self.create_publisher(Image, "mask", qos.IMAGE, **overridable)
        self._camera_info = self.create_publisher(CameraInfo, "camera_info", qos.IMAGE, **overridable)
        self._report = self.create_publisher(DecodeReport, "report", qos.REPORT, **overridable)
        # A job is a reason to look; the session knows what is due, and counts what is overtaken.
        self._worker: Worker[None] = Worker(
            self._poll, on_overtaken=lambda _: None, on_error=self._failed, name="decode"
        )
        self.create_subscription(StreamInfo, "stream_info", self._on_info, qos.STREAM_INFO)
        compressed = start.side_transport == "compressed"
        self._to_rgb = partial(from_compressed_message if compressed else from_image_message, name="side image")
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
        # Runs only while a packet waits for its side image. A steady clock: /clock may stand still.
        self._tick = self.create_timer(_WAIT_TICK_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))
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
        try:
            info = read_stream_info(message, Calibration.from_message)
        except MdicError as error:
            self._log(Event("warning", f"stream_info refused: {error}", "stream_info"))
            return
        self._session.push_info(info)

    def _on_bitstream(self, message: Bitstream) -> None:
        data = message.data.tobytes()
        self._input.add(len(data))
        self._configure()
        if len(message.header.frame_id) > MAX_FRAME_ID:  # it would be kept while the packet waits
            self._session.refuse("damaged", f"its frame_id is longer than {MAX_FRAME_ID} characters")
            return
        if self._session.push_packet(
            data, message.sequence, stamp_ns(message.header), time.monotonic(), message.header
        ):
            self._look()

    def _on_side(self, message: Any) -> None:
        self._side_input.add()
        self._configure()
        self._session.push_side(
            partial(self._to_rgb, message), stamp_ns(message.header), time.monotonic(), len(message.data)
        )
        self._look()

    def _configure(self) -> None:
        values = self._settings.read()
        self._session.settings = self._make_settings(**{name: getattr(values, name) for name in self._names})

    def _look(self) -> None:
        """Wake the worker, and again soon while a packet waits for its side image."""
        self._worker.submit(None)
        if self._session.next_deadline is None:
            self._tick.cancel()
        elif self._tick.is_canceled():
            self._tick.reset()

    def _health(self) -> Health:
        health = Health()
        session = self._session
        if session.guard.problem:
            health.worse(Level.ERROR, session.guard.problem)
        if self._input.seconds_since_last > 2.0:
            health.worse(Level.WARN, f"no bitstream on {self._packets.topic}")
        elif self._output.seconds_since_last > 2.0:
            health.worse(Level.WARN, "packets come in, no picture comes out; see the drops")
        if self._side_input.seconds_since_last > 2.0:
            health.worse(Level.WARN, f"no side image on {self._sides.topic}")
        if session.pairing_problem:
            health.worse(Level.WARN, session.pairing_problem)
        if session.info is None:
            health.worse(Level.WARN, "no stream_info yet: camera_info cannot be published")
        health.values = {
            "model": self._decoder.model_id,
            "fingerprint": self._decoder.fingerprint,
            "packets in (Hz)": f"{self._input.rate_hz:.2f}",
            "payload in (kbit/s)": f"{self._input.per_second * 8 / 1000:.2f}",
            "side images in (Hz)": f"{self._side_input.rate_hz:.2f}",
            "side images not usable": str(session.unusable_sides),
            "pictures out (Hz)": f"{self._output.rate_hz:.2f}",
            "pictures without side image": str(session.without_side),
            "decode time (ms)": f"{self._decode_ms.mean:.1f}",
            "age of the pictures (ms)": f"{self._age.mean:.1f}",
            "side image lower by (px)": f"{session.rows:.2f}" if session.settings.rectify else "not measured",
            "lost on the link": str(session.sequence.lost),
            "encoder restarts": str(session.sequence.restarts),
            **drop_values(session.drops.by_cause()),
        }
        return health

    # ---- worker thread

    def _poll(self, _: None) -> None:
        for picture in self._session.poll(time.monotonic()):
            self._publish(picture)

    def _publish(self, picture: Any) -> None:
        header, info = picture.tag, picture.info
        image, mask = Image(header=header), Image(header=header)
        fill_image(image, picture.image, "rgb8")
        fill_image(mask, picture.mask, "mono8")
        age = age_ms(self.get_clock().now().nanoseconds, picture.stamp_ns)
        report = dataclasses.replace(picture.report, age_ms=age)
        self._image.publish(image)
        if info is not None and info.calibration is not None:
            scaled = info.calibration.scaled(*picture.image.shape[:2])
            self._camera_info.publish(to_message(scaled, header))
        self._mask.publish(mask)
        self._report.publish(DecodeReport(header=header, **report.fields()))
        self._output.add()
        self._decode_ms.add(report.decode_ms)
        if not math.isnan(age):
            self._age.add(age)

    def _failed(self, _: None, error: Exception) -> None:
        if self.context.ok():
            self._session.drops.count("error")
            self._log(Event("error", f"packet dropped (error): {bug(error)}", "error"))


def main(args: Sequence[str] | None = None) -> NoReturn:
    run("decoder", DecoderNode, args)


if __name__ == "__main__":
    main()
