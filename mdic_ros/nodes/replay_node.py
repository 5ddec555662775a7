"""replay_node: plays a bag or a KITTI folder as topics, where there is no `ros2 bag play`."""

from __future__ import annotations

import contextlib
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

from mdic_ros.datasets import Camera, StereoFrame, open_stereo
from mdic_ros.datasets.calibration import CameraInfo as Calibration
from mdic_ros.datasets.images import RGB, to_encoding
from mdic_ros.errors import MdicError
from mdic_ros.nodes import qos
from mdic_ros.nodes.camera_info import to_message
from mdic_ros.nodes.image_conversion import fill_image
from mdic_ros.nodes.parameters import REPLAY, Parameters
from mdic_ros.nodes.playback import LONGEST_GAP_NS, Playhead, Schedule, fits_ros
from mdic_ros.nodes.runtime import StartError, bug, run

_TICK_S = 0.01


class CameraPublisher:
    """Image and camera_info of one camera, under `side` or under the recording's own names."""

    def __init__(self, node: Node, side: str, camera: Camera, keep_topics: bool) -> None:
        """Raises StartError for a topic of the recording that ROS does not allow."""
        self._frame_id = camera.frame_id
        self._encoding: Any = camera.encoding
        image = camera.topic if keep_topics else f"{side}/image_raw"
        info = f"{camera.namespace}/camera_info" if keep_topics else f"{side}/camera_info"
        # Drivers publish reliable, which serves subscribers of both kinds (REP 2003, draft).
        profile = qos.profile(ReliabilityPolicy.RELIABLE, 5)
        options = {"qos_overriding_options": qos.overridable()}
        try:
            self.image = node.create_publisher(Image, image, profile, **options)
            self._info = node.create_publisher(CameraInfo, info, profile, **options)
        except ValueError as error:  # rclpy's kinds of invalid names
            raise StartError(f"cannot publish {image}: {error}; keep_topics:=false gives it another name") from error

    def publish(self, image: Image, info: CameraInfo | None) -> None:
        if info is not None:
            self._info.publish(info)
        self.image.publish(image)

    def messages(self, image: RGB, calibration: Calibration | None, stamp_ns: int) -> tuple[Image, CameraInfo | None]:
        """What `publish` takes. Raises ReplayError for a stamp that ROS cannot express."""
        header = Header(stamp=_time(stamp_ns), frame_id=self._frame_id)
        message = Image(header=header)
        fill_image(message, to_encoding(image, self._encoding), self._encoding)
        return message, None if calibration is None else to_message(calibration, header)


class ReplayError(MdicError):
    """A frame that cannot be published."""


class ReplayNode(Node):
    """A thread of its own reads and publishes; the executor serves parameters. Shuts ROS down at the end.

    A frame that cannot be read or published is left out. When a whole round passes without one that can, the replay
    ends with exit code 1, so it ends with `loop`, too, whatever the frames are like.
    """

    exit_code = 0

    def __init__(self, **options: Any) -> None:
        super().__init__("replay", **options)
        self._settings = Parameters(self, REPLAY)
        start = self._settings.read()
        if not start.path:
            raise StartError("the parameter path is empty: give it a bag or a folder")
        if start.publish_clock and start.stamps == "now":
            raise StartError("publish_clock gives out recorded time: it needs stamps:=recorded")
        try:
            # As recorded, rectified or not: camera_info says which, and the encoder node looks at that.
            self._source = open_stereo(start.path, layout=start.layout, rectify_images=False)
        except (MdicError, OSError) as error:
            raise StartError(str(error)) from error
        try:
            self._start(start)
        except BaseException:
            self._source.close()
            raise

    def _start(self, start: Any) -> None:
        stamps = [frame.stamp_ns for frame in self._source]
        if not stamps:
            raise StartError(f"{start.path}: there is not one stereo frame in it")
        self._schedule = Schedule(stamps)
        self._left = CameraPublisher(self, "left", self._source.left, start.keep_topics)
        self._right = CameraPublisher(self, "right", self._source.right, start.keep_topics)
        self._clock_publisher = self.create_publisher(ClockMessage, "/clock", 10) if start.publish_clock else None
        self._stamp_now = start.stamps == "now"
        self._wait = start.wait_for_subscribers
        self._published = self._left_out = 0
        self._first_error = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replay", daemon=True)
        self.get_logger().info(
            f"replaying {start.path} ({self._source.layout}, {len(stamps)} frames) as "
            f"{self._left.image.topic_name} and {self._right.image.topic_name}"
        )
        if self._schedule.odd_steps:
            odd, period_ms = self._schedule.odd_steps, self._schedule.period_ns / 1e6
            self.get_logger().warning(
                f"stamps that stand still, go back or jump by over {LONGEST_GAP_NS // 10**9} s: {odd}; "
                f"each of these frames is played {period_ms:.0f} ms after the one before it, with the stamp that it has"
            )
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        self._stopping.set()
        self._thread.join(timeout)
        if not self._thread.is_alive():
            self._source.close()
        return not self._thread.is_alive()

    # ---- replay thread

    def _going(self) -> bool:
        """Whether nobody has stopped the node; on a signal ROS goes first, and publishing fails from then on."""
        return not self._stopping.is_set() and bool(self.context.ok())

    def _run(self) -> None:
        try:
            if self._wait:
                self._await_subscribers()
            if self._play():
                self._say_how_it_went()
        except Exception as error:
            if self._going():
                self.exit_code = 1
                self.get_logger().fatal(bug(error))
        finally:
            if self._going():
                self._let_subscribers_catch_up()
                self.context.try_shutdown()

    def _await_subscribers(self) -> None:
        while self._going() and not self._stopping.wait(0.05):
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

    def _play(self) -> bool:
        """Play to the end; False when the node was stopped before that."""
        schedule, head = self._schedule, Playhead(0, time.monotonic())
        played = 0  # rounds
        while True:
            before = self._published
            for index in range(len(schedule.times_ns)):
                if not self._going():
                    return False
                frame = self._load(index)  # decoded ahead of time
                if frame is None:
                    continue
                if not self._until(head, index, played):
                    return False
                self._publish(index, frame, played * schedule.round_clock_ns)
            played += 1
            if self._published == before:
                self.exit_code = 1
                return self._going()
            if not self._settings["loop"]:
                return True

    def _load(self, index: int) -> StereoFrame | None:
        """A frame with both images decoded; None when it cannot be read, which is logged and counted."""
        try:
            frame = self._source[index]
            frame.left, frame.right  # noqa: B018  they are decoded on first access
            return frame
        except Exception as error:  # damaged files make libraries raise what they like
            self._leave_out(index, error)
            return None

    def _until(self, head: Playhead, index: int, played: int) -> bool:
        """Wait until the frame is due, /clock running; False when the node is being stopped."""
        due_ns = played * self._schedule.round_ns + self._schedule.times_ns[index]
        offset_ns = played * self._schedule.round_clock_ns
        while self._going():
            rate = 0.0 if self._settings["paused"] else self._settings["rate"]
            left_ns = due_ns - head.move(time.monotonic(), rate, due_ns)
            self._publish_clock(self._schedule.clock_before(index, left_ns) + offset_ns)
            if left_ns <= 0 and rate:  # the first frame is due at once, and held all the same while paused
                return True
            self._stopping.wait(min(left_ns / 1e9 / rate, _TICK_S) if rate else _TICK_S)
        return False

    def _publish_clock(self, clock_ns: int) -> None:
        if self._clock_publisher is not None and fits_ros(clock_ns):
            self._clock_publisher.publish(ClockMessage(clock=_time(clock_ns)))

    def _publish(self, index: int, frame: StereoFrame, offset_ns: int) -> None:
        if self._stamp_now:
            offset_ns = time.time_ns() - frame.stamp_ns
        try:
            right = self._right.messages(frame.right, frame.right_info, frame.right_stamp_ns + offset_ns)
            left = self._left.messages(frame.left, frame.left_info, frame.stamp_ns + offset_ns)
            # The right image first: it is there when the bitstream of the left one asks for it.
            self._right.publish(*right)
            self._left.publish(*left)
        except Exception as error:
            if self._going():
                self._leave_out(index, error)
            return
        self._published += 1

    def _leave_out(self, index: int, error: Exception) -> None:
        text = str(error) if isinstance(error, MdicError) else f"{type(error).__name__}: {error}"
        self._left_out += 1
        self._first_error = self._first_error or text
        self.get_logger().error(f"frame {index} left out: {text}", throttle_duration_sec=5.0)

    def _say_how_it_went(self) -> None:
        published = f"{self._published} frames published"
        if self._left_out:
            published += f", {self._left_out} left out; the first: {self._first_error}"
        if self.exit_code:
            frames = len(self._schedule.times_ns)
            self.get_logger().fatal(f"none of the {frames} frames of {self._source.path} can be played; {published}")
        else:
            self.get_logger().info(f"end of the recording, {published}")

    def _let_subscribers_catch_up(self) -> None:
        for camera in (self._left, self._right):
            with contextlib.suppress(Exception):  # ROS went down meanwhile
                camera.image.wait_for_all_acked(Duration(seconds=1))


def _time(nanoseconds: int) -> Time:
    """Raises ReplayError for a time that ROS cannot express."""
    if not fits_ros(nanoseconds):
        raise ReplayError(f"ROS cannot express the stamp {nanoseconds / 1e9:.9g} s: its seconds have 32 bits")
    return Time(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def main(args: Sequence[str] | None = None) -> NoReturn:
    run("replay", ReplayNode, args)


if __name__ == "__main__":
    main()
