"""encoder_node: images of one camera in, a few hundred bytes a frame out. Runs on the robot."""

from __future__ import annotations

import array
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mdic_ros.msg import Bitstream, StreamInfo
from mdic_ros.nodes import qos
from mdic_ros.nodes.camera_info import is_known, same_calibration, view_of
from mdic_ros.nodes.diagnostics import Diagnostics, Health, Level, Meter, drop_values
from mdic_ros.nodes.image_conversion import compressed_to_rgb, message_to_rgb, resize_image
from mdic_ros.nodes.parameters import ENCODER, Parameters
from mdic_ros.nodes.rate_control import Limits, RateController, RateLimiter
from mdic_ros.nodes.runtime import load_model, run
from mdic_ros.nodes.worker import DropCounter, Worker


class EncoderNode(Node):
    """The executor thread receives; `_encode` and everything it calls run in the worker thread."""

    def __init__(self, **options: Any) -> None:
        super().__init__("encoder", **options)
        from mdic_ros.codec import Encoder, inspect  # late: Ctrl-C is answered while torch is being loaded

        self._settings = Parameters(self, ENCODER)
        start = self._settings.read()
        self._encoder = load_model(Encoder.from_pretrained, start.model, start.device)
        self._settings.limit("rate_point", self._encoder.rate_points - 1)
        self._inspect = inspect

        self._input, self._output, self._encode_ms = Meter(), Meter(), Meter()
        self._drops = DropCounter()
        self._limiter, self._controller = RateLimiter(), RateController()
        self._camera_info = CameraInfo()
        self._announced: StreamInfo | None = None
        self._sequence = 0
        self._rate_point = -1
        self._view = ""  # of the last frame

        self._bitstream = self.create_publisher(
            Bitstream, "bitstream", qos.BITSTREAM, qos_overriding_options=qos.overridable()
        )
        self._info = self.create_publisher(StreamInfo, "stream_info", qos.STREAM_INFO)
        self._worker: Worker[Any] = Worker(
            self._encode,
            on_overtaken=lambda _: self._drops.count("overtaken"),
            on_error=self._failed,
            name="encode",
        )
        compressed = start.transport == "compressed"
        self._to_rgb = compressed_to_rgb if compressed else message_to_rgb
        self._images = qos.AdaptiveSubscription(
            self,
            CompressedImage if compressed else Image,
            qos.transport_topic(self, "image", start.transport),
            self._on_image,
            depth=1,
            reliability=start.reliability,
        )
        self._calibrations = qos.AdaptiveSubscription(
            self, CameraInfo, "camera_info", self._on_camera_info, depth=1, reliability="auto"
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
        self._camera_info = message

    def _on_image(self, message: Any) -> None:
        self._input.add()
        if self._bitstream.get_subscription_count() == 0:
            return  # nobody to encode for
        if self._limiter.admit(self._settings["max_rate_hz"], time.monotonic()):
            self._worker.submit(message)
        else:
            self._drops.count("over_max_rate")

    def _health(self) -> Health:
        health = Health()
        if self._input.seconds_since_last > 2.0:
            health.worse(Level.WARN, f"no images on {self._images.topic}")
        elif self._bitstream.get_subscription_count() == 0:
            health.message = "idle: nobody subscribes to the bitstream"
        elif self._output.seconds_since_last > 2.0:
            health.worse(Level.WARN, "images come in, none is sent; see the drops")
        health.values = {
            "model": self._encoder.model_id,
            "fingerprint": self._encoder.fingerprint,
            "images in (Hz)": f"{self._input.rate_hz:.2f}",
            "frames out (Hz)": f"{self._output.rate_hz:.2f}",
            "payload out (kbit/s)": f"{self._output.per_second * 8 / 1000:.2f}",
            "bytes per frame": f"{self._output.mean:.0f}",
            "encode time (ms)": f"{self._encode_ms.mean:.1f}",
            "last rate point": str(self._rate_point),
            "camera coded": self._view or "none yet",
            "frames sent": str(self._sequence),
            **drop_values(self._drops.by_cause()),
        }
        return health

    # ---- worker thread

    def _encode(self, message: Any) -> None:
        started = time.monotonic()
        settings = self._settings.read()
        try:
            source = self._to_rgb(message)
            height, width = source.shape[:2]
            image = resize_image(source, settings.coded_height or height, settings.coded_width or width)
            finest = settings.rate_point if settings.rate_point >= 0 else None
            view = self._view = self._which(settings.view)
            packets = self._encoder.encode_all(image, rate_point=finest, view=view)
        except ValueError as error:  # ImageError, or the codec's: too small, too large
            self._refuse("bad_image", str(error))
            return
        limits = Limits(
            settings.rate_point,
            settings.max_bytes_per_frame,
            settings.target_bitrate_kbps,
            settings.window_s,
        )
        sizes = [len(packet) for packet in packets]
        choice = self._controller.choose(sizes, limits, time.monotonic())
        if choice.rate_point is None:
            self._refuse(choice.reason, f"the smallest packet of this frame has {sizes[0]} bytes")
            return
        packet = packets[choice.rate_point]
        encoding = getattr(message, "encoding", "rgb8")
        self._announce(message.header, (height, width), image.shape[:2], encoding, packet)
        data = array.array("B")
        data.frombytes(packet)
        self._bitstream.publish(Bitstream(header=message.header, sequence=self._sequence, data=data))
        self._sequence = (self._sequence + 1) % 2**32
        self._rate_point = choice.rate_point
        self._output.add(len(packet))
        self._encode_ms.add((time.monotonic() - started) * 1000)

    def _which(self, view: str) -> Any:
        """The camera that is coded, left or right; logged whenever it changes, with what says so."""
        why = "as the parameter view says"
        if view == "auto":
            view, why = view_of(self._camera_info), "as P[3] of camera_info says"
            if not is_known(self._camera_info):
                why = "there is no camera_info: if it is the right one, set the parameter view"
        if view != self._view:
            self.get_logger().info(f"coding the {view} camera of the pair ({why})")
        return view

    def _announce(
        self, header: Any, source: tuple[int, int], coded: tuple[int, ...], encoding: str, packet: bytes
    ) -> None:
        """Publish StreamInfo when something in it has changed."""
        facts = {
            "height": source[0],
            "width": source[1],
            "coded_height": coded[0],
            "coded_width": coded[1],
            "encoding": encoding,
        }
        last, camera_info = self._announced, self._camera_info
        if last is not None and all(getattr(last, name) == value for name, value in facts.items()):  # noqa: SIM102
            if same_calibration(last.camera_info, camera_info):
                return
        self._announced = StreamInfo(
            header=header,
            **facts,
            model_id=self._encoder.model_id,
            fingerprint=self._encoder.fingerprint,
            stream_version=self._inspect(packet).version,
            rate_points=self._encoder.rate_points,
            camera_info=camera_info,
        )
        self._info.publish(self._announced)

    def _refuse(self, cause: str, text: str) -> None:
        self._drops.count(cause)
        self.get_logger().warning(f"frame dropped ({cause}): {text}", throttle_duration_sec=5.0)

    def _failed(self, _: Any, error: Exception) -> None:
        if self.context.ok():  # on the way out, publishers go before the last frame does
            self._refuse("error", f"{type(error).__name__}: {error}")


def main(args: Sequence[str] | None = None) -> NoReturn:
    run("encoder", EncoderNode, args)


if __name__ == "__main__":
    main()
