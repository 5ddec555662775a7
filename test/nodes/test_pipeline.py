"""The three nodes as processes of their own, as on a robot and a workstation."""

import itertools
import signal

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run through `make test`")
pytest.importorskip("mdic_ros.msg", reason="needs the built messages: run through `make test`")

from mdic_ros.msg import Bitstream, DecodeReport, StreamInfo
from ros_bench import BEST_EFFORT, LATCHED, PATIENCE_S, ROOT, Bench
from sensor_msgs.msg import CameraInfo, Image

from mdic_ros.datasets.images import encode_image
from mdic_ros.datasets.messages import stamp_ns

pytestmark = [pytest.mark.ros, pytest.mark.slow]


@pytest.fixture
def drive(tmp_path, textures):
    """The drive that ships with the package; without it, frames made on the spot."""
    sample = ROOT / "sample" / "street"
    if (sample / "metadata.yaml").is_file():
        return sample
    for index, views in enumerate(itertools.islice(textures(64, 128), 10)):
        for side, image in zip(("left", "right"), views):
            path = tmp_path / "drive" / side / f"{index:06}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_image(image, "png"))
    return tmp_path / "drive"


def test_a_drive_goes_through_and_every_process_stops_cleanly(bench: Bench, drive, tiny_bundle):
    packets = bench.listen(Bitstream, "/stereo/left/bitstream", BEST_EFFORT)
    reports = bench.listen(DecodeReport, "/stereo/left/report")
    pictures = bench.listen(Image, "/stereo/left/image_reconstructed")
    calibrations = bench.listen(CameraInfo, "/stereo/left/image_reconstructed/camera_info")
    encoder = bench.launch(
        "encoder_node", "--params-file", str(ROOT / "config" / "encoder.yaml"), "-r", "__ns:=/stereo/left",
        "-r", "image:=image_raw", "-p", f"model:={tiny_bundle}", "-p", "coded_height:=64", "-p", "coded_width:=128",
    )  # fmt: skip
    replay = bench.launch(
        "replay_node", "-r", "__ns:=/stereo", "-p", f"path:={drive}", "-p", "loop:=true", "-p", "stamps:=now",
    )  # fmt: skip
    bench.wait(lambda: len(packets) > 2, "no bitstream")
    # The decoder comes late: stream_info, which says what it is to decode, has been sent before it was there.
    assert bench.set_parameters("/stereo/replay", paused=True) == []
    decoder = bench.launch(
        "decoder_node", "--params-file", str(ROOT / "config" / "decoder.yaml"), "-r", "__ns:=/stereo/left",
        "-r", "side/image:=/stereo/right/image_raw", "-r", "camera_info:=image_reconstructed/camera_info",
        "-p", f"model:={tiny_bundle}", "-p", "side_wait_s:=1.0", "-p", "caption_every:=100",
    )  # fmt: skip
    bench.wait(lambda: bench.node.count_publishers("/stereo/left/report"), "no decoder")
    assert bench.set_parameters("/stereo/replay", paused=False) == []
    bench.wait(lambda: len(reports) > 3, "no pictures")
    assert any(report.side_used for report in reports)
    assert {(picture.height, picture.width) for picture in pictures} == {(64, 128)}
    by_sequence = {packet.sequence: packet for packet in packets}
    for report in reports:
        assert report.bytes == len(by_sequence[report.sequence].data)
        assert report.header == by_sequence[report.sequence].header
        assert report.age_ms > 0
    infos = bench.listen(StreamInfo, "/stereo/left/stream_info", LATCHED)
    bench.wait(lambda: infos, "stream_info is not latched")
    if infos[0].camera_info.k[0]:
        bench.wait(lambda: calibrations, "no camera_info")
        assert (calibrations[0].height, calibrations[0].width) == (64, 128)

    coarse = len(packets)
    assert bench.set_parameters("/stereo/left/encoder", rate_point=0) == []
    bench.wait(lambda: len(packets) > coarse + 3, "the encoder stopped")
    assert len(packets[-1].data) < len(packets[0].data)
    seen = len(reports)
    assert bench.set_parameters("/stereo/left/decoder", caption="snow at night") == []
    bench.wait(lambda: any(report.caption == "snow at night" for report in reports[seen:]), "the caption is not used")
    stamps = [stamp_ns(report.header) for report in reports]
    assert stamps == sorted(stamps)

    for process, sign in ((replay, signal.SIGINT), (encoder, signal.SIGINT), (decoder, signal.SIGTERM)):
        process.send_signal(sign)
    for process in (replay, encoder, decoder):
        output = process.communicate(timeout=PATIENCE_S)[0]
        assert process.returncode == 0, output
        assert "Traceback" not in output, output


@pytest.mark.parametrize(
    "module, arguments, words",
    [
        ("encoder_node", ["-p", "model:=/nowhere"], "cannot load the model bundle /nowhere"),
        ("replay_node", [], "the parameter path is empty"),
    ],
)
def test_a_process_that_cannot_start_says_why_in_one_line(bench: Bench, module, arguments, words):
    process = bench.launch(module, *arguments)
    output = process.communicate(timeout=PATIENCE_S)[0]
    assert process.returncode == 1
    assert words in output
    assert "Traceback" not in output
