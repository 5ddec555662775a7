import itertools
import signal
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run through `make test`")
pytest.importorskip("mdic_ros.msg", reason="needs the built messages: run through `make test`")

from ros_bench import PATIENCE_S, ROOT, Bench, pixels
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image

from mdic_ros.datasets import Camera, DatasetError, StereoFrame, StereoSource, open_stereo
from mdic_ros.datasets.images import encode_image
from mdic_ros.datasets.messages import stamp_ns
from mdic_ros.errors import ImageError
from mdic_ros.nodes.replay_node import ReplayNode
from mdic_ros.nodes.runtime import StartError

pytestmark = pytest.mark.ros

SIZE = (70, 130)
FRAMES = 4


@pytest.fixture
def folder(tmp_path, textures):
    """A left/right folder of four small frames."""
    for index, (left, right) in enumerate(itertools.islice(textures(*SIZE), FRAMES)):
        for side, image in (("left", left), ("right", right)):
            path = tmp_path / "drive" / side / f"{index:06}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_image(image, "png"))
    return tmp_path / "drive"


@pytest.fixture
def kitti_drive():
    """The real KITTI drive of the development data."""
    path = ROOT.parent / "shared" / "data" / "kitti_raw"
    if not path.is_dir():
        pytest.skip("needs KITTI images that are not in the repository")
    return path


def test_plays_pictures_and_stamps_as_recorded_and_ends(bench: Bench, folder):
    left, right = bench.listen(Image, "/cam/left/image_raw"), bench.listen(Image, "/cam/right/image_raw")
    clock = bench.listen(Clock, "/clock")
    process = bench.launch(
        "replay_node", "-r", "__ns:=/cam", "-p", f"path:={folder}", "-p", "wait_for_subscribers:=true",
        "-p", "rate:=4.0", "-p", "publish_clock:=true",
    )  # fmt: skip
    assert process.wait(PATIENCE_S) == 0, process.communicate()[0]
    bench.wait(lambda: len(left) == len(right) == FRAMES, f"{len(left)} left, {len(right)} right images")
    with open_stereo(folder) as source:
        for frame, one, other in zip(source, left, right):
            np.testing.assert_array_equal(pixels(one), frame.left)
            np.testing.assert_array_equal(pixels(other), frame.right)
            assert stamp_ns(one.header) == frame.stamp_ns
            assert stamp_ns(other.header) == frame.right_stamp_ns
        times = [message.clock.sec * 10**9 + message.clock.nanosec for message in clock]
        assert times == sorted(times)
        assert len(times) > FRAMES
        assert source[0].stamp_ns <= times[-1] <= source[-1].stamp_ns


def test_waits_loops_pauses_and_changes_speed(bench: Bench, folder):
    node = bench.start(ReplayNode, path=str(folder), wait_for_subscribers=True, loop=True, rate=5.0, stamps="recorded")
    left = bench.listen(Image, "left/image_raw")
    bench.node.create_subscription(Image, "right/image_raw", lambda _: None, 10)
    bench.wait(lambda: len(left) > 2 * FRAMES, "it does not loop")
    stamps = [stamp_ns(message.header) for message in left]
    assert all(b > a for a, b in itertools.pairwise(stamps))
    assert "Min: 0.01, Max: 100.0" in bench.set_parameters(node, rate=0.0)[0]
    assert bench.set_parameters(node, rate="fast") == ["rate: 'fast' is not allowed; allowed: 0.01 to 100"]
    assert bench.set_parameters(node, paused=True, rate=50.0) == []
    bench.set_parameters(node, rate=20.0)  # time for a frame that was under way
    seen = len(left)
    bench.set_parameters(node, rate=10.0)
    assert len(left) == seen
    assert bench.set_parameters(node, paused=False) == []
    bench.wait(lambda: len(left) > seen + FRAMES, "it does not go on")


def test_paused_from_the_start_it_holds_the_first_frame(bench: Bench, folder):
    node = bench.start(ReplayNode, path=str(folder), paused=True, loop=True, rate=20.0)
    left = bench.listen(Image, "left/image_raw")
    bench.wait(lambda: node._left.image.get_subscription_count(), "nobody listens")
    for rate in (30.0, 40.0):  # time for a frame
        assert bench.set_parameters(node, rate=rate) == []
    assert not left
    assert bench.set_parameters(node, paused=False) == []
    bench.wait(lambda: left, "it does not go on")
    with open_stereo(folder) as source:
        assert stamp_ns(left[0].header) == source[0].stamp_ns


def test_keeps_the_recordings_own_names_and_calibration(bench: Bench, kitti_drive):
    images = bench.listen(Image, "/kitti/camera_color_left/image_raw")
    infos = bench.listen(CameraInfo, "/kitti/camera_color_right/camera_info")
    bench.node.create_subscription(Image, "/kitti/camera_color_right/image_raw", lambda _: None, 10)
    bench.start(ReplayNode, path=str(kitti_drive), keep_topics=True, wait_for_subscribers=True, loop=True, rate=10.0)
    bench.wait(lambda: images and infos, "nothing under the recording's names")
    with open_stereo(kitti_drive) as source:
        np.testing.assert_array_equal(pixels(images[0])[..., ::-1], source[0].left)
        assert images[0].encoding == "bgr8"
        assert infos[0].p[3] == pytest.approx(source[0].right_info.p[0, 3])
        assert infos[0].header.frame_id == source.right.frame_id


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({}, "path is empty"),
        ({"path": "/nowhere"}, "/nowhere: no such file or folder"),
        ({"path": "/tmp", "stamps": "now", "publish_clock": True}, "needs stamps:=recorded"),
    ],
)
def test_says_why_it_cannot_start(bench: Bench, parameters, message):
    with pytest.raises(StartError, match=message):
        bench.start(ReplayNode, **parameters)


# ---- whatever the frames are like


def broken(*_):
    raise ImageError("left.png: the file is damaged")


def vanished(*_):
    raise FileNotFoundError(2, "No such file or directory", "left.png")


def hostile(*_):
    raise ValueError("a library's surprise")


class Frames(StereoSource):
    """A recording of these stamps, of which some frames cannot be loaded: index -> what loading does instead."""

    def __init__(self, stamps, unreadable=(), frame_fails=()):
        camera = Camera("/cam/left/image_raw", "left"), Camera("/cam/right/image_raw", "right")
        super().__init__("folder", Path("drive"), *camera)
        self.stamps, self.unreadable, self.frame_fails = stamps, dict(unreadable), frame_fails
        self.image = np.zeros((8, 8, 3), np.uint8)

    def __len__(self):
        return len(self.stamps)

    def _frame(self, index):
        if index in self.frame_fails and self.opened:
            raise DatasetError("drive: the bag is damaged here")
        load = self.unreadable.get(index, lambda: self.image)
        return StereoFrame(str(index), self.stamps[index], self.stamps[index], load, lambda: self.image)

    opened = False


@pytest.fixture
def play(bench, monkeypatch):
    """Function: a recording and parameters -> node that plays it, stamps of the left images that come."""

    def play(source, **parameters):
        monkeypatch.setattr("mdic_ros.nodes.replay_node.open_stereo", lambda *_, **__: source)
        stamps = []
        bench.node.create_subscription(Image, "left/image_raw", lambda m: stamps.append(stamp_ns(m.header)), 10)
        bench.node.create_subscription(Image, "right/image_raw", lambda _: None, 10)
        node = bench.start(ReplayNode, **{"path": "drive", "wait_for_subscribers": True, "rate": 100.0, **parameters})
        source.opened = True
        return node, stamps

    return play


def ended(bench, node):
    bench.wait(lambda: not node._thread.is_alive(), "the replay does not end")
    return node.exit_code


@pytest.mark.parametrize("load", [broken, vanished, hostile])
@pytest.mark.parametrize("loop", [False, True])
def test_ends_with_an_error_when_not_one_frame_can_be_played(bench: Bench, play, load, loop):
    node, stamps = play(Frames([100, 200, 300], {0: load, 1: load, 2: load}), loop=loop)
    assert ended(bench, node) == 1
    assert not stamps


def test_ends_with_an_error_when_a_loop_comes_to_a_recording_that_has_gone(bench: Bench, play):
    source = Frames([0, 10**9, 2 * 10**9])
    node, stamps = play(source, loop=True)
    bench.wait(lambda: len(stamps) > 4, "it does not loop")
    source.unreadable = dict.fromkeys(range(3), vanished)
    assert ended(bench, node) == 1


def test_leaves_out_what_cannot_be_read_or_published(bench: Bench, play):
    far = 2**31 * 10**9  # later than ROS can express
    stamps = [1 * 10**9, 2 * 10**9, 3 * 10**9, far, 4 * 10**9, 5 * 10**9]
    node, seen = play(Frames(stamps, {1: broken, 4: hostile}, frame_fails=[2]), loop=True)
    bench.wait(lambda: len(seen) > 3, "it does not loop")
    bench.remove(node)
    assert seen[:2] == [stamps[0], stamps[5]]
    assert all(later > earlier for earlier, later in itertools.pairwise(seen))


@pytest.mark.parametrize(
    "stamps",
    [
        [0, 0, 0],
        [7 * 10**9] * 3,
        [10**18],
        [10**9, 10**18, 2 * 10**9],
        [3 * 10**9, 2 * 10**9, 1 * 10**9],
        [-(10**9), 0, 10**9],
    ],
    ids=["zero", "frozen", "one frame", "years ahead and back", "backwards", "before 1970"],
)
@pytest.mark.parametrize("loop", [False, True])
def test_odd_stamps_are_played_as_they_are_and_it_ends_or_can_be_stopped(bench: Bench, play, stamps, loop):
    clock = bench.listen(Clock, "/clock")
    node, seen = play(Frames(stamps), loop=loop, publish_clock=True)
    if loop:
        bench.wait(lambda: len(seen) > 2 * len(stamps), "it does not loop")
        bench.remove(node)  # waits until the thread has ended
    else:
        assert ended(bench, node) == 0  # the last image may be under way still, and ROS is down
    assert seen[: len(stamps)] == stamps[: len(seen)]
    times = [message.clock.sec * 10**9 + message.clock.nanosec for message in clock]
    assert times == sorted(times)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("parameters", [("loop:=true",), ("paused:=true",), ("wait_for_subscribers:=true",)])
def test_a_signal_ends_it_quietly(bench: Bench, folder, number, parameters):
    options = itertools.chain.from_iterable(("-p", text) for text in (f"path:={folder}", *parameters))
    process = bench.launch("replay_node", *options)
    bench.wait(lambda: bench.node.count_publishers("/left/image_raw"), "it does not start")
    process.send_signal(number)
    assert process.wait(PATIENCE_S) == 0
    assert [line for line in process.stdout if "replaying" not in line] == []


def test_damaged_files_in_a_loop_end_it_with_a_sentence(bench: Bench, folder):
    for path in folder.glob("*/*.png"):
        path.write_bytes(path.read_bytes()[:100])
    process = bench.launch("replay_node", "-p", f"path:={folder}", "-p", "loop:=true")
    assert process.wait(PATIENCE_S) == 1
    last = process.stdout.read().splitlines()[-1]
    assert f"none of the {FRAMES} frames of {folder} can be played; 0 frames published" in last
