"""replay_node: plays a bag or a KITTI folder as topics, where there is no `ros2 bag play`."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from mdic_ros.datasets import Camera, DatasetError, ImageError, StereoFrame, open_stereo
from mdic_ros.datasets.calibration import CameraInfo as Calibration
from mdic_ros.datasets.images import RGB, to_encoding
from mdic_ros.nodes import qos
from mdic_ros.nodes.image_conversion import fill_image
from mdic_ros.nodes.parameters import REPLAY, Parameters
from mdic_ros.nodes.playback import Playhead, offsets
from mdic_ros.nodes.runtime import StartError, run

_TICK_S = 0.01


class CameraPublisher:
    """Image and camera_info of one camera, under `side` or under the recording's own names."""

    def __init__(self, node: Node, side: str, camera: Camera, keep_topics: bool) -> None:
        self._frame_id = camera.frame_id
        self._encoding: Any = camera.encoding
        image = camera.topic if keep_topics else f"{side}/image_raw"
        info = f"{camera.namespace}/camera_info" if keep_topics else f"{side}/camera_info"
        # Drivers publish reliable, which serves subscribers of both kinds (REP 2003, draft).
        profile = qos.profile(ReliabilityPolicy.RELIABLE, 5)
        options = {"qos_overriding_options": qos.overridable()}
        self.image = node.create_publisher(Image, image, profile, **options)
        self._info = node.create_publisher(CameraInfo, info, profile, **options)

    def publish(self, image: RGB, calibration: Calibration | None, stamp_ns: int) -> None:
        header = Header(stamp=_time(stamp_ns), frame_id=self._frame_id)
        if calibration is not None:
            self._info.publish(_camera_info(calibration, header))
        message = Image(header=header)
        fill_image(message, to_encoding(image, self._encoding), self._encoding)
        self.image.publish(message)


class ReplayNode(Node):
    """A thread of its own reads and publishes; the executor serves parameters. Shuts ROS down at the end."""

    def __init__(self, **options: Any) -> None:
        super().__init__("replay", **options)
        self._settings = Parameters(self, REPLAY)
        start = self._settings.read()
        if not start.path:
            raise StartError("the parameter path is empty: give it a bag or a folder")
        if start.publish_clock and start.stamps == "now":
            raise StartError("publish_clock gives out recorded time: it needs stamps:=recorded")
        try:
            self._source = open_stereo(start.path, layout=start.layout)
        except DatasetError as error:
            raise StartError(str(error)) from error
        self._stamps = [frame.stamp_ns for frame in self._source]
        self._left = CameraPublisher(self, "left", self._source.left, start.keep_topics)
        self._right = CameraPublisher(self, "right", self._source.right, start.keep_topics)
        self._clock_publisher = self.create_publisher(ClockMessage, "/clock", 10) if start.publish_clock else None
        self._stamp_now = start.stamps == "now"
        self._wait = start.wait_for_subscribers
        self._published = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replay", daemon=True)
        self._thread.start()
        self.get_logger().info(
            f"replaying {start.path} ({self._source.layout}, {len(self._stamps)} frames) as "
            f"{self._left.image.topic_name} and {self._right.image.topic_name}"
        )

    def stop(self, timeout: float) -> bool:
        self._stopping.set()
        self._thread.join(timeout)
        if not self._thread.is_alive():
            self._source.close()
        return not self._thread.is_alive()

    # ---- replay thread

    def _run(self) -> None:
        try:
            if self._wait:
                self._await_subscribers()
            self._play()
        except Exception as error:
            if not self._stopping.is_set():
                self.get_logger().fatal(f"{type(error).__name__}: {error}")
        if not self._stopping.is_set():
            self.get_logger().info(f"end of the recording, {self._published} frames published")
            for camera in (self._left, self._right):
                camera.image.wait_for_all_acked(Duration(seconds=1))
            self.context.try_shutdown()

    def _await_subscribers(self) -> None:
        while not self._stopping.wait(0.05):
            missing = [
                camera.image.topic_name
                for camera in (self._left, self._right)
                if camera.image.get_subscription_count() == 0
            ]
            if not missing:
                return
            self.get_logger().info(
                f"waiting for a subscriber of {' and '.join(missing)}",
                throttle_duration_sec=5.0,
                skip_first=True,
            )

    def _play(self) -> None:
        head = Playhead(self._stamps[0], time.monotonic())
        for offset in offsets(self._stamps):
            for frame in self._source:
                try:
                    images = frame.left, frame.right  # decoded ahead of time
                except ImageError as error:
                    self.get_logger().error(f"frame left out: {error}")
                    continue
                if not self._until(head, frame.stamp_ns + offset):
                    return
                self._publish(frame, images, offset)
            if not self._settings["loop"]:
                return

    def _until(self, head: Playhead, stamp_ns: int) -> bool:
        """Let recorded time run to `stamp_ns`; False when the node is being stopped."""
        while not self._stopping.is_set():
            rate = 0.0 if self._settings["paused"] else self._settings["rate"]
            position = head.move(time.monotonic(), rate, stamp_ns)
            if self._clock_publisher is not None:
                self._clock_publisher.publish(ClockMessage(clock=_time(position)))
            if position >= stamp_ns and rate:  # the first frame is due at once, and held all the same
                return True
            left_s = (stamp_ns - position) / 1e9 / rate if rate else _TICK_S
            self._stopping.wait(min(left_s, _TICK_S))
        return False

    def _publish(self, frame: StereoFrame, images: tuple[RGB, RGB], offset: int) -> None:
        if self._stamp_now:
            offset = time.time_ns() - frame.stamp_ns
        # The right image first: it is there when the bitstream of the left one asks for it.
        self._right.publish(images[1], frame.right_info, frame.right_stamp_ns + offset)
        self._left.publish(images[0], frame.left_info, frame.stamp_ns + offset)
        self._published += 1


def _time(nanoseconds: int) -> Time:
    return Time(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def _camera_info(info: Calibration, header: Header) -> CameraInfo:
    return CameraInfo(
        header=header,
        height=info.height,
        width=info.width,
        distortion_model=info.distortion_model,
        d=list(info.d),
        k=info.k.ravel(),
        r=info.r.ravel(),
        p=info.p.ravel(),
    )


def main(args: Sequence[str] | None = None) -> NoReturn:
    run("replay", ReplayNode, args)


if __name__ == "__main__":
    main()
