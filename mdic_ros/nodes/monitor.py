"""Listens to everything between replay, encoder and decoder, and drives the replay. For the demo."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import rclpy
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, Image

from mdic_ros.codec.images import Image as Picture
from mdic_ros.codec.images import resize_image
from mdic_ros.datasets.images import RGB, from_image_message
from mdic_ros.datasets.messages import stamp_ns
from mdic_ros.msg import Bitstream, DecodeReport, StreamInfo
from mdic_ros.nodes import qos

LEFT, RIGHT = "/stereo/left", "/stereo/right"
_RELIABLE = qos.profile(ReliabilityPolicy.RELIABLE, 20)
_BEST_EFFORT = qos.profile(ReliabilityPolicy.BEST_EFFORT, 20)


def _name(message_type: Any) -> str:
    """ROS's name of a message class, e.g. `sensor_msgs/msg/Image`."""
    return f"{message_type.__module__.split('.')[0]}/msg/{message_type.__name__}"


class Collector(Protocol):
    """Gets what arrives. Stamps are nanoseconds, pictures H x W x 3 uint8 RGB at the coded size."""

    def original(self, stamp_ns: int, image: Picture, time: float) -> None:
        """An image of the coded camera, at a monotonic time in seconds."""

    def side(self, stamp_ns: int, image: Picture) -> None:
        """An image of the side camera."""

    def packet(self, stamp_ns: int, size: int, time: float) -> None:
        """A packet of `size` bytes, at a monotonic time in seconds."""

    def picture(self, stamp_ns: int, image: Picture) -> None:
        """A decoded image."""

    def mask(self, stamp_ns: int, image: Picture) -> None:
        """A mask, H x W."""

    def report(self, stamp_ns: int, report: Any) -> None:
        """A DecodeReport."""

    def record(self, stamp_ns: int, time_ns: int, topic: str, msgtype: str, data: bytes) -> None:
        """A serialised message of any of these kinds, before it is handed to one of the methods above."""


class Monitor:
    """A node in the demo's own process. It does nothing outside of :meth:`spin`.

    Args:
        domain: ROS_DOMAIN_ID.
        collector: gets all that arrives.
        size: (height, width) of the coded images, to which the others are scaled.
    """

    def __init__(self, domain: int, collector: Collector, size: tuple[int, int]) -> None:
        self._collector, self._size = collector, size
        #: The last StreamInfo as (time_ns, topic, type, CDR); None while there is none.
        self.stream_info: tuple[int, str, str, bytes] | None = None
        self._context = Context()
        # The demo handles Ctrl-C itself.
        rclpy.init(context=self._context, domain_id=domain)
        self._node = rclpy.create_node("demo_monitor", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._client = self._node.create_client(SetParameters, "/stereo/replay/set_parameters")
        self._request: Any = None
        self._wanted: dict[str, Any] = {}
        self._set: dict[str, Any] = {}

        collect = self._collector
        self._subscribe(Image, f"{LEFT}/image_raw", self._on_original, record=False)
        self._subscribe(Image, f"{RIGHT}/image_raw", self._on_side, record=False)
        self._subscribe(Bitstream, f"{LEFT}/bitstream", self._on_packet, profile=_BEST_EFFORT)
        self._subscribe(Image, f"{LEFT}/image_reconstructed", lambda m: collect.picture(_stamp(m), _rgb(m)))
        self._subscribe(Image, f"{LEFT}/mask", lambda m: collect.mask(_stamp(m), _rgb(m)[:, :, 0]))
        self._subscribe(CameraInfo, f"{LEFT}/image_reconstructed/camera_info", lambda _: None)
        self._subscribe(DecodeReport, f"{LEFT}/report", lambda m: collect.report(_stamp(m), m))
        self._node.create_subscription(
            StreamInfo, f"{LEFT}/stream_info", self._on_stream_info, qos.STREAM_INFO, raw=True
        )

    def _subscribe(
        self,
        message_type: Any,
        topic: str,
        callback: Callable[[Any], None],
        record: bool = True,
        profile: Any = _RELIABLE,
    ) -> None:
        """Serialised messages are recorded as they came over DDS, and only then read."""

        def received(data: bytes) -> None:
            message = deserialize_message(data, message_type)
            if record:  # before the callback: it may complete the frame
                self._collector.record(_stamp(message), time.time_ns(), topic, _name(message_type), data)
            callback(message)

        self._node.create_subscription(message_type, topic, received, profile, raw=True)

    def _scaled(self, message: Any) -> Picture:
        return resize_image(_rgb(message), *self._size)

    def _on_original(self, message: Any) -> None:
        now = time.monotonic()
        self._collector.original(_stamp(message), self._scaled(message), now)

    def _on_side(self, message: Any) -> None:
        self._collector.side(_stamp(message), self._scaled(message))

    def _on_packet(self, message: Any) -> None:
        self._collector.packet(_stamp(message), len(message.data), time.monotonic())

    def _on_stream_info(self, data: bytes) -> None:
        self.stream_info = time.time_ns(), f"{LEFT}/stream_info", _name(StreamInfo), data

    def coders_ready(self) -> bool:
        """Encoder and decoder are there and listen."""
        node = self._node
        published = all(
            node.count_publishers(f"{LEFT}/{topic}") for topic in ("bitstream", "stream_info", "report", "mask")
        )
        return published and node.count_subscribers(f"{LEFT}/bitstream") >= 2

    def replay_ready(self) -> bool:
        """The replay offers its topics, and encoder and decoder have taken up its offer: reliable delivery."""
        for topic in (f"{LEFT}/image_raw", f"{RIGHT}/image_raw"):
            subscribers = self._node.get_subscriptions_info_by_topic(topic)
            offered = [s.qos_profile.reliability for s in subscribers]
            if not self._node.count_publishers(topic) or offered.count(ReliabilityPolicy.RELIABLE) < 2:
                return False
        return bool(self._client.service_is_ready())

    def spin(self, seconds: float) -> None:
        """Handle what arrives within this time, one thing at least if there is any."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)
            self._send_parameters()

    def drive(self, rate: float, paused: bool) -> None:
        """Set the speed of the replay (1 is as recorded) and whether it waits; small changes of speed are left out."""
        old = self._wanted.get("rate", 0.0)
        changed = abs(rate - old) > 0.1 * old or rate == 1.0
        self._wanted = {"paused": paused, "rate": rate if changed else old}
        self._send_parameters()

    def _send_parameters(self) -> None:
        """One request at a time; what has changed meanwhile goes with the next one."""
        if self._request is not None and not self._request.done():
            return
        changes = {name: value for name, value in self._wanted.items() if self._set.get(name) != value}
        if not changes:
            return
        parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in changes.items()]
        self._request = self._client.call_async(SetParameters.Request(parameters=parameters))
        self._set |= changes

    def close(self) -> None:
        """Leave the domain."""
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)


def _rgb(message: Any) -> RGB:
    return from_image_message(message, "picture")


def _stamp(message: Any) -> int:
    return stamp_ns(message.header)
