import math
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run through `make test`")
pytest.importorskip("mdic_ros.msg", reason="needs the built messages: run through `make test`")

from diagnostic_msgs.msg import DiagnosticArray
from mdic_ros.msg import Bitstream, StreamInfo
from ros_bench import BEST_EFFORT, LATCHED, RELIABLE, Bench, compressed, header, raw
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mdic_ros.codec import Encoder, inspect
from mdic_ros.datasets.messages import stamp_ns
from mdic_ros.nodes.encoder_node import EncoderNode
from mdic_ros.nodes.parameters import ParameterError
from mdic_ros.nodes.runtime import StartError

pytestmark = pytest.mark.ros

SIZE = (64, 128)
MS = 1_000_000


@pytest.fixture(scope="module")
def codec(tiny_bundle) -> Encoder:
    return Encoder.from_pretrained(tiny_bundle)


@pytest.fixture(scope="module")
def picture(textures) -> np.ndarray:
    return np.ascontiguousarray(next(textures(*SIZE))[0])


def last_status(statuses: list[DiagnosticArray]) -> tuple[int, str, dict[str, str]]:
    status = statuses[-1].status[0]
    return status.level[0], status.message, {entry.key: entry.value for entry in status.values}


def test_a_picture_becomes_the_bytes_that_the_codec_makes(bench: Bench, tiny_bundle, codec, picture):
    bench.start(EncoderNode, "__ns:=/left", "image:=image_raw", model=str(tiny_bundle))
    packets = bench.listen(Bitstream, "/left/bitstream", BEST_EFFORT)
    images = bench.publisher(Image, "/left/image_raw")
    infos = bench.publisher(CameraInfo, "/left/camera_info")
    bench.settle()
    infos.publish(CameraInfo(header=header(0), height=64, width=128, k=[50.0, 0, 64, 0, 50, 32, 0, 0, 1]))
    for index in range(3):
        images.publish(raw(picture, 1000 + index * 100))
        bench.wait(lambda: len(packets) == index + 1, "no packet")  # noqa: B023
    expected = codec.encode_all(picture)[-1]
    for index, packet in enumerate(packets):
        assert packet.data.tobytes() == expected
        assert packet.sequence == index
        assert stamp_ns(packet.header) == (1000 + index * 100) * MS
        assert packet.header.frame_id == "left_optical"
    late = bench.listen(StreamInfo, "/left/stream_info", LATCHED)  # after all has been sent
    bench.wait(lambda: late, "stream_info is not latched")
    info = late[0]
    assert (info.height, info.width, info.coded_height, info.coded_width) == (*SIZE, *SIZE)
    assert (info.model_id, info.fingerprint) == (codec.model_id, codec.fingerprint)
    assert (info.encoding, info.stream_version, info.rate_points) == ("rgb8", 1, codec.rate_points)
    assert info.camera_info.k[0] == 50.0


def test_the_camera_that_is_coded_follows_from_its_calibration(bench: Bench, tiny_bundle, codec, picture):
    node = bench.start(EncoderNode, model=str(tiny_bundle))
    packets = bench.listen(Bitstream, "bitstream", BEST_EFFORT)
    images = bench.publisher(Image, "image")
    infos = bench.publisher(CameraInfo, "camera_info")
    statuses = bench.listen(DiagnosticArray, "/diagnostics")
    bench.settle()

    def view() -> str:
        count = len(packets)
        images.publish(raw(picture, count))
        bench.wait(lambda: len(packets) > count, "no packet")
        return inspect(packets[-1].data.tobytes()).view

    assert view() == "left"  # without a calibration
    right = CameraInfo(height=64, width=128, p=[50.0, 0, 64, -20, 0, 50, 32, 0, 0, 0, 1, 0])
    infos.publish(right)
    bench.wait(lambda: node._camera_info.p[3] == -20, "no camera_info")
    assert view() == "right"
    assert packets[-1].data.tobytes() == codec.encode_all(picture, view="right")[-1]
    bench.wait(lambda: statuses and last_status(statuses)[2]["camera coded"] == "right", "not in the diagnostics")
    assert bench.set_parameters(node, view="left") == []
    assert view() == "left"


def test_images_that_are_not_rectified_are_warned_of(bench: Bench, tiny_bundle, picture, capfd):
    node = bench.start(EncoderNode, model=str(tiny_bundle))
    packets = bench.listen(Bitstream, "bitstream", BEST_EFFORT)
    statuses = bench.listen(DiagnosticArray, "/diagnostics")
    images, infos = bench.publisher(Image, "image"), bench.publisher(CameraInfo, "camera_info")
    bench.settle()
    k, p = [50.0, 0, 64, 0, 50, 32, 0, 0, 1], [50.0, 0, 64, 0, 0, 50, 32, 0, 0, 0, 1, 0]
    infos.publish(CameraInfo(height=64, width=128, k=k, p=p, d=[-0.3, 0.1, 0.0, 0.0, 0.0]))
    bench.wait(lambda: node._camera_info.k[0] == 50.0, "no camera_info")
    images.publish(raw(picture, 1))
    bench.wait(lambda: packets, "no packet")
    bench.wait(lambda: statuses and "not rectified (D is not 0" in last_status(statuses)[1], "not in the diagnostics")
    assert "image_rect" in capfd.readouterr().err


def test_a_calibration_that_decoders_would_refuse_is_not_sent(bench: Bench, tiny_bundle, picture, capfd):
    node = bench.start(EncoderNode, model=str(tiny_bundle))
    packets = bench.listen(Bitstream, "bitstream", BEST_EFFORT)
    stream_infos = bench.listen(StreamInfo, "stream_info", LATCHED)
    images, infos = bench.publisher(Image, "image"), bench.publisher(CameraInfo, "camera_info")
    bench.settle()
    infos.publish(CameraInfo(height=64, width=128, k=[50.0, 0, 64, 0, 50, 32, 0, 0, 1]))
    bench.wait(lambda: node._camera_info.k[0] == 50.0, "the good camera_info is refused")
    told = ""

    def refused() -> bool:
        nonlocal told
        told += capfd.readouterr().err
        return "camera_info refused: k is out of range" in told

    infos.publish(CameraInfo(height=64, width=128, k=[math.nan] * 9))
    bench.wait(refused, "a camera_info without numbers is taken")
    images.publish(raw(picture, 1))
    bench.wait(lambda: packets and stream_infos, "no packet")
    assert stream_infos[0].camera_info.k[0] == 50.0


@pytest.mark.parametrize("form", ["jpeg", "png"])
def test_compressed_images(bench: Bench, tiny_bundle, codec, picture, form):
    bench.start(EncoderNode, "image:=/cam/image_raw", model=str(tiny_bundle), transport="compressed")
    packets = bench.listen(Bitstream, "bitstream", BEST_EFFORT)
    infos = bench.listen(StreamInfo, "stream_info", LATCHED)
    images = bench.publisher(CompressedImage, "/cam/image_raw/compressed", BEST_EFFORT)
    bench.settle()
    images.publish(CompressedImage(header=header(1), format="jpeg", data=b"\xff\xd8\xff and nothing else"))
    images.publish(compressed(picture, 2, form))
    bench.wait(lambda: packets, "no packet")
    assert stamp_ns(packets[0].header) == 2 * MS
    assert len(packets) == 1
    if form == "png":
        assert packets[0].data.tobytes() == codec.encode_all(picture)[-1]
    bench.wait(lambda: infos, "no stream_info")
    assert infos[0].encoding == "rgb8"


def test_encodings_and_bad_images(bench: Bench, tiny_bundle, codec, picture):
    node = bench.start(EncoderNode, model=str(tiny_bundle))
    packets = bench.listen(Bitstream, "bitstream", BEST_EFFORT)
    infos = bench.listen(StreamInfo, "stream_info", LATCHED)
    statuses = bench.listen(DiagnosticArray, "/diagnostics")
    images = bench.publisher(Image, "image")
    bench.settle()
    expected = codec.encode_all(picture)[-1]
    alpha = np.full((*SIZE, 1), 255, np.uint8)
    forms = {
        "bgr8": picture[..., ::-1],
        "rgba8": np.concatenate([picture, alpha], 2),
        "bgra8": np.concatenate([picture[..., ::-1], alpha], 2),
    }
    for index, (encoding, data) in enumerate(forms.items()):
        images.publish(raw(data, index, encoding))
        bench.wait(lambda: len(packets) == index + 1, f"no packet of {encoding}")  # noqa: B023
        assert packets[-1].data.tobytes() == expected
    bad = raw(picture, 10)
    bad.width = 2**31
    for count, message in enumerate((bad, raw(picture[:32, :32], 11), raw(picture, 12, "yuv422")), start=1):
        images.publish(message)
        bench.wait(lambda: node._session.drops.by_cause() == {"bad_image": count}, str(node._session.drops.by_cause()))  # noqa: B023
    images.publish(raw(picture[..., :1], 20, "mono8"))
    bench.wait(lambda: len(packets) == 4, "it does not go on")
    assert infos[-1].encoding == "mono8"
    bench.wait(lambda: statuses and "dropped: bad image" in last_status(statuses)[2], "not in the diagnostics")
    assert last_status(statuses)[2]["dropped: bad image"] == "3"


def test_idle_while_nobody_listens(bench: Bench, tiny_bundle, picture):
    node = bench.start(EncoderNode, model=str(tiny_bundle))
    statuses = bench.listen(DiagnosticArray, "/diagnostics")
    images = bench.publisher(Image, "image")
    bench.settle()
    images.publish(raw(picture, 1))
    bench.wait(lambda: node._input.rate_hz > 0, "no image")
    bench.wait(lambda: statuses and "idle" in last_status(statuses)[1], "not told in the diagnostics")
    assert last_status(statuses)[0] == 0
    packets = bench.listen(Bitstream, "bitstream", BEST_EFFORT)
    bench.wait(lambda: node._bitstream.get_subscription_count(), "no match")
    images.publish(raw(picture, 2))
    bench.wait(lambda: packets, "no packet")
    assert (packets[0].sequence, stamp_ns(packets[0].header)) == (0, 2 * MS)


def test_parameters_change_while_running(bench: Bench, tiny_bundle, codec, textures):
    size = (100, 200)
    picture = np.ascontiguousarray(next(textures(*size))[0])
    node = bench.start(EncoderNode, model=str(tiny_bundle))
    packets = bench.listen(Bitstream, "bitstream", BEST_EFFORT)
    infos = bench.listen(StreamInfo, "stream_info", LATCHED)
    images = bench.publisher(Image, "image")
    bench.settle()
    sizes = [len(packet) for packet in codec.encode_all(picture)]
    finest = codec.rate_points - 1

    def encoded() -> int:
        """Bytes of the next packet."""
        count = len(packets)
        images.publish(raw(picture, 100 * count))
        bench.wait(lambda: len(packets) > count, "no packet")
        return len(packets[-1].data)

    assert encoded() == sizes[finest]
    for rate_point in (0, 1, -1):
        assert bench.set_parameters(node, rate_point=rate_point) == []
        assert encoded() == sizes[rate_point]
    assert bench.set_parameters(node, max_bytes_per_frame=sizes[1]) == []
    assert encoded() == sizes[1]
    assert bench.set_parameters(node, max_bytes_per_frame=sizes[0] - 1) == []
    images.publish(raw(picture, 1))
    bench.wait(lambda: node._session.drops.by_cause() == {"over_max_bytes": 1}, str(node._session.drops.by_cause()))
    assert bench.set_parameters(node, max_bytes_per_frame=0, coded_height=64, coded_width=128) == []
    encoded()
    header_ = inspect(packets[-1].data.tobytes())
    assert (header_.height, header_.width) == (64, 128)
    bench.wait(lambda: infos and infos[-1].coded_height == 64, "stream_info does not follow")
    assert (infos[-1].height, infos[-1].width, infos[-1].coded_width) == (*size, 128)

    assert f"Max: {finest}, " in bench.set_parameters(node, rate_point=finest + 1)[0]
    assert "0 or whole numbers 64 to 4096" in bench.set_parameters(node, coded_height=10)[0]
    assert "read-only" in bench.set_parameters(node, transport="compressed")[0]
    assert bench.set_parameters(node, window_s=3) == []  # a whole number where ROS wants a point
    assert node._settings["window_s"] == 3.0


def test_the_newest_picture_wins(bench: Bench, tiny_bundle, picture):
    node = bench.start(EncoderNode, model=str(tiny_bundle))
    packets = bench.listen(Bitstream, "bitstream", BEST_EFFORT)
    images = bench.publisher(Image, "image")
    bench.settle()
    for index in range(40):
        images.publish(raw(picture, index))
    bench.wait(lambda: packets and stamp_ns(packets[-1].header) == 39 * MS, "the last picture is not there")
    assert [packet.sequence for packet in packets] == list(range(len(packets)))
    assert len(packets) + node._session.drops.by_cause().get("overtaken", 0) <= 40


def test_frame_rate_limit(bench: Bench, tiny_bundle, picture):
    node = bench.start(EncoderNode, model=str(tiny_bundle), max_rate_hz=0.01)
    packets = bench.listen(Bitstream, "bitstream", BEST_EFFORT)
    images = bench.publisher(Image, "image")
    bench.settle()
    images.publish(raw(picture, 0))
    bench.wait(lambda: packets, "no packet")
    images.publish(raw(picture, 100))
    bench.wait(lambda: node._session.drops.by_cause() == {"over_max_rate": 1}, str(node._session.drops.by_cause()))


def test_reliability_follows_the_publishers(bench: Bench, tiny_bundle, picture):
    reliable = bench.publisher(Image, "image", RELIABLE)
    node = bench.start(EncoderNode, model=str(tiny_bundle))
    packets = bench.listen(Bitstream, "bitstream", BEST_EFFORT)

    def arrives_from(publisher, stamp_ms: int) -> None:
        """Send until it is through: a subscription that was just made anew is not matched yet."""

        def through() -> bool:
            publisher.publish(raw(picture, stamp_ms))
            time.sleep(0.05)
            return any(stamp_ns(packet.header) == stamp_ms * MS for packet in packets)

        bench.wait(through, f"nothing from the publisher at {stamp_ms}")

    bench.settle()
    assert node._images.reliability.name == "RELIABLE"
    arrives_from(reliable, 1)
    best_effort = bench.publisher(Image, "image", BEST_EFFORT)
    bench.wait(lambda: node._images.reliability.name == "BEST_EFFORT", "still reliable")
    arrives_from(best_effort, 2)
    arrives_from(reliable, 3)
    bench.node.destroy_publisher(best_effort)
    bench.wait(lambda: node._images.reliability.name == "RELIABLE", "not reliable again")
    arrives_from(reliable, 4)


def test_a_mismatch_of_the_users_making_is_explained_once(bench: Bench, tiny_bundle, capfd):
    bench.start(EncoderNode, model=str(tiny_bundle), reliability="reliable")
    publishers = [bench.publisher(Image, "image", BEST_EFFORT) for _ in range(2)]
    told = ""

    def explained() -> bool:
        nonlocal told
        told += capfd.readouterr().err
        return "Set the parameter reliability to auto" in told

    bench.wait(explained, "the incompatible QoS is not explained")
    assert len(publishers) == 2
    assert told.count("Set the parameter reliability") == 1


@pytest.mark.parametrize(
    "parameters, error, words",
    [
        ({"model": "/nowhere"}, StartError, "/nowhere.*parameters model and device"),
        ({"rate_point": 15}, ParameterError, "rate_point: 15 is not allowed; allowed: whole numbers -1 to"),
        ({"transport": "theora"}, ParameterError, "allowed: raw | compressed"),
        ({"window_s": "long"}, ParameterError, "allowed: 0.1 to 60"),
        ({"rate_point": 99}, ParameterError, "allowed: whole numbers -1 to 15"),
    ],
)
def test_says_why_it_cannot_start(bench: Bench, tiny_bundle, parameters, error, words):
    with pytest.raises(error, match=words):
        bench.start(EncoderNode, **{"model": str(tiny_bundle), **parameters})
