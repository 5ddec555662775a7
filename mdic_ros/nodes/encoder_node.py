"""encoder_node: images of one camera in, a few hundred bytes a frame out. Runs on the robot."""

from __future__ import annotations

import array
import time
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from typing import Any, NoReturn

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mdic_ros.datasets.bag_stereo import unrectified
from mdic_ros.datasets.calibration import CameraInfo as Calibration
from mdic_ros.datasets.images import from_compressed_message, from_image_message
from mdic_ros.datasets.messages import stamp_ns
from mdic_ros.msg import Bitstream, StreamInfo
from mdic_ros.nodes import qos
from mdic_ros.nodes.coded_camera import CodedCamera
from mdic_ros.nodes.diagnostics import Diagnostics, Health, Level, Meter, drop_values
from mdic_ros.nodes.parameters import ENCODER, Parameters
from mdic_ros.nodes.runtime import bug, load_model, run
from mdic_ros.nodes.session_log import SessionLog
from mdic_ros.nodes.worker import Worker
from mdic_ros.stream.events import Event
from mdic_ros.stream.reports import calibration_problem


class EncoderNode(Node):
    """The executor thread receives; `_encode` and everything it calls run in the worker thread."""

    def __init__(self, **options: Any) -> None:
        super().__init__("encoder", **options)
        from mdic_ros.codec import Encoder  # late: Ctrl-C is answered while the network is being loaded
        from mdic_ros.stream import EncodeSession, EncodeSettings, Refused

        self._settings = Parameters(self, ENCODER)
        start = self._settings.read()
        self._encoder = load_model(Encoder.from_pretrained, start.model, device=start.device, threads=start.threads)
        self._settings.limit("rate_point", self._encoder.rate_points - 1)
        self._log = SessionLog(self.get_logger())
        self._session = EncodeSession(self._encoder, tell=self._log)
        self._make_settings, self._refused = EncodeSettings, Refused
        self._names = [field.name for field in fields(EncodeSettings)]

        self._input, self._output, self._encode_ms = Meter(), Meter(), Meter()
        self._camera_info = CameraInfo()
        self._rate_point = -1
        self._camera = CodedCamera()
        self._unrectified = ""  # what says so

        self._bitstream = self.create_publisher(
            Bitstream, "bitstream", qos.BITSTREAM, qos_overriding_options=qos.overridable()
        )
        self._info = self.create_publisher(StreamInfo, "stream_info", qos.STREAM_INFO)
        self._worker: Worker[Any] = Worker(
            self._encode,
            on_overtaken=lambda _: self._session.drops.count("overtaken"),
            on_error=self._failed,
            name="encode",
        )
        compressed = start.transport == "compressed"
        self._to_rgb = partial(from_compressed_message if compressed else from_image_message, name="image")
        # Before the images: of messages that come together, the calibration is to be known first.
        self._calibrations = qos.AdaptiveSubscription(
            self, CameraInfo, "camera_info", self._on_camera_info, depth=1, reliability="auto"
        )
        self._images = qos.AdaptiveSubscription(
            self,
            CompressedImage if compressed else Image,
            qos.transport_topic(self, "image", start.transport),
            self._on_image,
            depth=1,
            reliability=start.reliability,
        )
        self._diagnostics = Diagnostics(self, self._encoder.model_id, self._health)
        self.get_logger().info(
            f"encoder ready: {self._encoder.model_id} {self._encoder.fingerprint[:8]}, "
            f"{self._encoder.rate_points} rate points, {start.device}; {self._images.topic} -> "
            f"{self._bitstream.topic_name}"
        )

    def stop(self, timeout: float) -> bool:
        return self._worker.stop(timeout)

    # ---- executor thread

    def _on_camera_info(self, message: CameraInfo) -> None:
        if field := calibration_problem(message):  # a decoder would refuse the whole stream_info
            text = f"camera_info refused: {field} is out of range or too long; the one before is used, if there was one"
            self._log(Event("warning", text, "camera_info"))
            return
        self._camera_info = message

    def _on_image(self, message: Any) -> None:
        self._input.add()
        if self._bitstream.get_subscription_count() == 0:
            return  # nobody to encode for
        values = self._settings.read()
        now = time.monotonic()
        self._say_camera(self._camera.choose(values.view, self._camera_info, now))
        values.view = self._camera.view
        self._session.settings = self._make_settings(**{name: getattr(values, name) for name in self._names})
        if self._session.admit(now):
            self._worker.submit(message)

    def _say_camera(self, news: Event | None) -> None:
        if news is None:
            return
        if news.severity == "warning":  # a line for each: rclpy refuses another severity from the same line
            self.get_logger().warning(news.text)
        else:
            self.get_logger().info(news.text)

    def _health(self) -> Health:
        health = Health()
        if self._input.seconds_since_last > 2.0:
            health.worse(Level.WARN, f"no images on {self._images.topic}")
        elif self._bitstream.get_subscription_count() == 0:
            health.message = "idle: nobody subscribes to the bitstream"
        elif self._output.seconds_since_last > 2.0:
            health.worse(Level.WARN, "images come in, none is sent; see the drops")
        if self._session.stamp_problem:
            health.worse(Level.WARN, f"header stamps of the images are {self._session.stamp_problem}")
        if self._camera.doubt:
            health.worse(Level.WARN, self._camera.doubt)
        if self._unrectified:
            health.worse(Level.WARN, f"the images are not rectified ({self._unrectified})")
        health.values = {
            "model": self._encoder.model_id,
            "fingerprint": self._encoder.fingerprint,
            "images in (Hz)": f"{self._input.rate_hz:.2f}",
            "frames out (Hz)": f"{self._output.rate_hz:.2f}",
            "payload out (kbit/s)": f"{self._output.per_second * 8 / 1000:.2f}",
            "bytes per frame": f"{self._output.mean:.0f}",
            "encode time (ms)": f"{self._encode_ms.mean:.1f}",
            "last rate point": str(self._rate_point),
            "camera coded": self._camera.view or "none yet",
            "frames sent": str(self._session.sent),
            **drop_values(self._session.drops.by_cause()),
        }
        return health

    # ---- worker thread

    def _encode(self, message: Any) -> None:
        started = time.monotonic()
        calibration = Calibration.from_message(self._camera_info)
        self._check_rectified(calibration)
        frame = self._session.push(
            partial(self._to_rgb, message),
            stamp_ns(message.header),
            started,
            encoding=getattr(message, "encoding", "rgb8"),
            calibration=calibration,
        )
        if isinstance(frame, self._refused):
            return
        if frame.info is not None:
            info = StreamInfo(header=message.header, **frame.info.facts(), camera_info=self._camera_info)
            self._info.publish(info)
        data = array.array("B")
        data.frombytes(frame.data)
        self._bitstream.publish(Bitstream(header=message.header, sequence=frame.sequence, data=data))
        self._rate_point = frame.rate_point
        self._output.add(len(frame.data))
        self._encode_ms.add((time.monotonic() - started) * 1000)

    def _check_rectified(self, calibration: Calibration | None) -> None:
        why = unrectified(self._images.topic, calibration)
        if why and why != self._unrectified:
            self.get_logger().warning(
                f"the images are not rectified ({why}), so that the side image hardly helps: take the rectified topics "
                "of both cameras (image_proc makes them), e.g. image_rect"
            )
        self._unrectified = why

    def _failed(self, _: Any, error: Exception) -> None:
        if self.context.ok():  # on the way out, publishers go before the last frame does
            self._session.drops.count("error")
            self._log(Event("error", f"frame dropped (error): {bug(error)}", "error"))


def main(args: Sequence[str] | None = None) -> NoReturn:
    run("encoder", EncoderNode, args)


if __name__ == "__main__":
    main()
