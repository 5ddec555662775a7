"""encoder_node on a robot with ROS and the base install: no PyTorch anywhere.

These run in the environment of `tools/base_env.py --ros` (`make base-ros-test`).
"""

import itertools
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run through `make base-ros-test`")
pytest.importorskip("mdic_ros.msg", reason="needs the built messages: run through `make base-ros-test`")

from mdic_ros.msg import Bitstream, StreamInfo

from mdic_ros.codec import inspect
from mdic_ros.codec.images import resize_image

sys.path.insert(0, str(Path(__file__).parents[1] / "nodes"))
from ros_bench import BEST_EFFORT, LATCHED, isolated_bench, raw
from sensor_msgs.msg import Image

pytestmark = pytest.mark.ros


@pytest.fixture
def bench():
    with isolated_bench() as bench:
        yield bench


def test_an_image_becomes_a_packet_without_pytorch(bench, views):
    assert find_spec("torch") is None
    packets = bench.listen(Bitstream, "bitstream", BEST_EFFORT)
    infos = bench.listen(StreamInfo, "stream_info", LATCHED)
    camera = bench.publisher(Image, "image")
    node = bench.launch("encoder_node", "-p", "rate_point:=2")

    def wait_for(condition, what):
        bench.wait(lambda: condition() or node.poll() is not None, what)
        assert node.poll() is None, node.stdout.read()

    wait_for(camera.get_subscription_count, "the encoder does not listen")
    wait_for(
        lambda: all(end.get_publisher_count() for end in bench.node.subscriptions), "the encoder offers no packets"
    )
    image = resize_image(views[0], 128, 256)
    stamps_ms = itertools.count(1_000_000, 200)

    def answered():
        """Sends the image; again, because the node subscribes anew when it meets the publisher, and may miss one."""
        camera.publish(raw(image, next(stamps_ms)))
        time.sleep(0.2)
        return packets and infos

    wait_for(answered, "no packet comes")
    header = inspect(bytes(packets[0].data))
    assert (header.height, header.width, header.rate_point) == (128, 256, 2)
    assert int(infos[0].fingerprint[:2], 16) == header.fingerprint_byte
    libraries = Path(f"/proc/{node.pid}/maps").read_text()
    assert "onnxruntime" in libraries and "torch" not in libraries
