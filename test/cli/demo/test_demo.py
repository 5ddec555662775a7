"""The whole demo as a process: nodes, DDS, files, and what it says when something is in the way."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from PIL import Image

from mdic_ros.cli.demo import __main__ as command
from mdic_ros.cli.demo.errors import DemoError
from mdic_ros.datasets import open_stereo
from mdic_ros.datasets.bag import BagReader
from mdic_ros.datasets.bag_writer import BagWriter
from mdic_ros.datasets.export import write_camera
from mdic_ros.datasets.images import from_image_message
from mdic_ros.datasets.messages import stamp_ns
from mdic_ros.evaluation.metrics import psnr

ROOT = Path(__file__).parents[2]
FRAMES, SIZE = 4, (64, 128)

with contextlib.suppress(ImportError):
    import mdic_ros.msg  # noqa: F401
needs_ros = [
    pytest.mark.ros,
    pytest.mark.slow,
    pytest.mark.timeout(900),  # a busy machine takes minutes to load torch three times
    pytest.mark.skipif(
        importlib.util.find_spec("rclpy") is None or importlib.util.find_spec("mdic_ros.msg") is None,
        reason="rclpy or the messages of this package are not there: make setup",
    ),
]


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A left/right folder: a pattern that moves, 96 x 192."""
    folder = tmp_path_factory.mktemp("drive")
    rng = np.random.default_rng(0)
    scene = Image.fromarray(rng.integers(0, 256, (8, 40, 3), np.uint8)).resize((400, 96))
    for side, shift in (("left", 0), ("right", 6)):
        (folder / side).mkdir()
        for index in range(FRAMES):
            left = 4 * index + shift
            scene.crop((left, 0, left + 192, 96)).save(folder / side / f"{index:03}.png")
    return folder


@pytest.fixture(scope="module")
def unrectified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """EuRoC's layout: three pairs of 120x188 pixels with distortion."""
    folder = tmp_path_factory.mktemp("MH_00") / "mav0"
    rng = np.random.default_rng(1)
    scene = Image.fromarray(rng.integers(0, 256, (10, 40), np.uint8)).resize((400, 120))
    for camera, shift in enumerate((0, 6)):
        data = folder / f"cam{camera}" / "data"
        data.mkdir(parents=True)
        lines = ["#timestamp [ns],filename"]
        for index in range(3):
            stamp = 1_403_636_579_763_555_584 + index * 50_000_000
            scene.crop((4 * index + shift, 0, 4 * index + shift + 188, 120)).save(data / f"{stamp}.png")
            lines.append(f"{stamp},{stamp}.png")
        (data.parent / "data.csv").write_text("\n".join(lines) + "\n")
        pose = np.eye(4)
        pose[0, 3] = 0.11 * camera
        sensor = {
            "sensor_type": "camera",
            "T_BS": {"cols": 4, "rows": 4, "data": pose.ravel().tolist()},
            "rate_hz": 20,
            "resolution": [188, 120],
            "camera_model": "pinhole",
            "intrinsics": [114.6, 114.3, 91.8, 62.1],
            "distortion_model": "radial-tangential",
            "distortion_coefficients": [-0.283, 0.074, 0.0002, 0.00002],
        }
        (data.parent / "sensor.yaml").write_text(yaml.safe_dump(sensor))
    return folder.parent


def start(out: Path, model: Path, *options: object) -> subprocess.Popen[str]:
    words = ["--out", out, "--model", model, "--size", f"{SIZE[0]}x{SIZE[1]}", *options]
    return subprocess.Popen(
        [sys.executable, "-m", "mdic_ros.cli.demo", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "CI": "true", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell starts in the background ignores Ctrl-C, and so would what it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@contextlib.contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate()


def nodes_of(out: Path) -> list[str]:
    """Command lines of the node processes that hold a log of this demo open."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(out) in os.readlink(entry / "fd" / "1"):
                found.append((entry / "cmdline").read_text())
    return found


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path, drive: Path) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("demo") / "out"
    with ended(start(out, tiny_bundle, "--bag", drive)) as process:
        printed, errors = process.communicate()
    assert process.returncode == 0, errors + printed
    return out, printed


class TestWhole:
    pytestmark = needs_ros

    def test_lines(self, done: tuple[Path, str]) -> None:
        out, printed = done
        lines = printed.splitlines()
        at = next(i for i, line in enumerate(lines) if line.split()[:2] == ["frame", "bytes"])
        assert [line.split()[0] for line in lines[at + 1 : at + 1 + FRAMES]] == [*map(str, range(FRAMES))]
        assert f"{FRAMES} of {FRAMES} frames crossed DDS and were decoded, all with the side image" in printed
        for name in ("side_by_side.mp4", "contact_sheet.png", "decoded", "figures.json"):
            assert f"{out / name} " in printed
        assert "\x1b" not in printed

    def test_figures_agree_with_the_bag_and_the_recording(
        self, done: tuple[Path, str], drive: Path, tiny_bundle: Path
    ) -> None:
        from mdic_ros.codec import Decoder, Encoder, SideView

        out, _ = done
        figures = json.loads((out / "figures.json").read_text())
        encoder = Encoder.from_pretrained(tiny_bundle)
        assert figures["model"]["fingerprint"] == encoder.fingerprint
        assert (figures["settings"]["steps"], figures["settings"]["rate_point"]) == (2, 1)
        assert figures["frames_played"] == figures["frames_decoded"] == FRAMES
        assert len(figures["rate_points"]["medians"]) == encoder.rate_points
        with BagReader(out / "decoded") as bag:
            messages: dict[str, list] = {name.rpartition("/")[2]: [] for name in bag.topics}
            for message in bag.messages():
                messages[message.topic.rpartition("/")[2]].append(bag.decode(message))
        assert {name: len(found) for name, found in messages.items()} == {
            "bitstream": FRAMES,
            "stream_info": 1,
            "image_reconstructed": FRAMES,
            "mask": FRAMES,
            "report": FRAMES,
        }
        rows = figures["frames"]
        for row, packet, report, picture in zip(
            rows, *(messages[name] for name in ("bitstream", "report", "image_reconstructed")), strict=True
        ):
            original, side = (
                np.asarray(
                    Image.open(drive / name / f"{row['frame']:03}.png").resize(SIZE[::-1], Image.Resampling.LANCZOS)
                )
                for name in ("left", "right")
            )
            assert {stamp_ns(m.header) for m in (packet, report, picture)} == {row["stamp_ns"]}
            assert row["bytes"] == report.bytes == len(packet.data)
            assert row["bpp"] == pytest.approx(8 * row["bytes"] / (SIZE[0] * SIZE[1]), abs=1e-4)
            assert row["kbps"] == pytest.approx(row["bytes"] * 8 / 1000 * 10, rel=1e-6)  # folders play at 10 Hz
            assert row["decode_ms"] == pytest.approx(report.decode_ms, abs=1e-3)
            assert row["age_ms"] > row["decode_ms"] > 0
            decoded = from_image_message(picture, "picture")
            assert row["psnr_db"] == pytest.approx(psnr(decoded, original), abs=1e-3)
            # nothing happened on the way that the codec alone would not do
            assert bytes(packet.data) == encoder.encode(original, rate_point=1)
            again = Decoder.from_pretrained(tiny_bundle).decode(
                bytes(packet.data), [SideView(side)], caption=row["caption"], steps=2
            )
            assert psnr(again.image, decoded) > 40  # the node may use another number of threads

    def test_video(self, done: tuple[Path, str]) -> None:
        with av.open(str(done[0] / "side_by_side.mp4")) as video:
            stream = video.streams.video[0]
            frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(stream)]
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
            assert float(stream.average_rate or 0) == pytest.approx(10)
        assert len(frames) == FRAMES
        assert frames[0].shape[0] % 2 == 0 and frames[0].shape[1] > 3 * SIZE[1]
        assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 1  # it moves

    def test_sheet(self, done: tuple[Path, str]) -> None:
        with Image.open(done[0] / "contact_sheet.png") as sheet:
            assert sheet.width > 7 * 2 * SIZE[1] and sheet.height > 3 * 2 * SIZE[0]  # the pair and 5 rate points

    def test_no_process_is_left(self, done: tuple[Path, str]) -> None:
        assert nodes_of(done[0]) == []

    def test_again_into_the_same_folder(self, done: tuple[Path, str], tiny_bundle: Path, drive: Path) -> None:
        out, _ = done
        with ended(start(out, tiny_bundle, "--bag", drive, "--frames", 2, "--rate", 0, "--steps", 1)) as process:
            printed, errors = process.communicate()
        assert process.returncode == 0, errors + printed
        figures = json.loads((out / "figures.json").read_text())
        assert [row["rate_point"] for row in figures["frames"]] == [0, 0]
        with BagReader(out / "decoded") as bag:
            assert bag.topics["/stereo/left/report"].count == 2


class TestOptionsOfTheRecording:
    pytestmark = needs_ros

    def test_unrectified_images_go_through_the_nodes_rectified(
        self, tmp_path: Path, unrectified: Path, tiny_bundle: Path
    ) -> None:
        out, options = tmp_path / "out", ("--bag", unrectified, "--rectify-images", "--steps", 1)
        with ended(start(out, tiny_bundle, *options)) as process:
            printed, errors = process.communicate()
        assert process.returncode == 0, errors + printed
        figures = json.loads((out / "figures.json").read_text())
        assert (figures["frames_decoded"], figures["recording"]["layout"]) == (3, "euroc")
        encoder_log = (out / "logs" / "encoder.log").read_text()
        assert "not rectified" not in encoder_log and "WARN" not in encoder_log
        with BagReader(out / "decoded") as bag:
            packets = [bytes(bag.decode(m).data) for m in bag.messages(["/stereo/left/bitstream"])]
        from mdic_ros.codec import Encoder
        from mdic_ros.codec.images import resize_image

        encoder = Encoder.from_pretrained(tiny_bundle)
        with open_stereo(unrectified, rectify_images=True) as source:
            assert packets == [encoder.encode(resize_image(f.left, *SIZE), rate_point=1) for f in source]
        with open_stereo(unrectified, rectify_images=False) as source:
            assert packets != [encoder.encode(resize_image(f.left, *SIZE), rate_point=1) for f in source]
        assert not list(out.glob(".recording*"))  # what was played is gone

    def test_topics_that_do_not_tell_the_cameras_apart(self, tmp_path: Path, drive: Path, tiny_bundle: Path) -> None:
        with open_stereo(drive) as source, BagWriter(tmp_path / "bag") as writer:
            for frame in source:
                for topic, right in (("/here/image", True), ("/there/image", False)):
                    write_camera(writer, replace(source.left, topic=topic), frame, right, "raw")
        options = ("--bag", tmp_path / "bag", "--left-topic", "/there/image", "--right-topic", "/here/image")
        with ended(start(tmp_path / "out", tiny_bundle, *options, "--steps", 1)) as process:
            printed, errors = process.communicate()
        assert process.returncode == 0, errors + printed
        assert f"{FRAMES} of {FRAMES} frames crossed DDS" in printed


class TestTrouble:
    pytestmark = needs_ros

    def test_a_node_that_dies_is_quoted(self, tmp_path: Path, tiny_bundle: Path, drive: Path) -> None:
        bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
        shutil.rmtree(bundle / "unet")
        with ended(start(tmp_path / "out", bundle, "--bag", drive)) as process:
            _, errors = process.communicate()
        assert process.returncode == 1
        assert "decoder_node ended with status 1" in errors and "unet" in errors
        assert "Traceback" not in errors
        assert nodes_of(tmp_path) == []
        assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["logs"]

    def test_interrupted(self, tmp_path: Path, tiny_bundle: Path, drive: Path) -> None:
        with ended(start(tmp_path / "out", tiny_bundle, "--bag", drive)) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("starting"):
                    break
            while not nodes_of(tmp_path):
                assert process.poll() is None
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate()
        assert process.returncode == 130
        assert "interrupted" in errors and "Traceback" not in errors
        assert nodes_of(tmp_path) == []
        assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["logs"]


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        command.main(words)
    return int(ended.value.code or 0)


@pytest.fixture
def keep_signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("keep_signals")
class TestMessages:
    def test_without_ros(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setitem(sys.modules, "rclpy", None)
        assert run() == 1
        assert "make setup" in capsys.readouterr().err

    def test_without_recording(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_bundle: Path
    ) -> None:
        monkeypatch.setattr(command, "_check_ros", lambda: None)
        assert run("--bag", str(tmp_path / "nowhere"), "--model", str(tiny_bundle)) == 1
        assert "nowhere: no such file or folder" in capsys.readouterr().err

        def gone(name: str) -> Path:
            raise FileNotFoundError(name)

        monkeypatch.setattr(command, "resource", gone)
        assert run("--model", str(tiny_bundle)) == 1
        assert "sample/street is not there" in capsys.readouterr().err

    def test_without_model(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, drive: Path
    ) -> None:
        monkeypatch.setattr(command, "_check_ros", lambda: None)
        assert run("--bag", str(drive), "--model", str(tmp_path)) == 1
        assert "no model to decode with" in capsys.readouterr().err

    def test_something_else_is_in_the_way(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        tmp_path: Path,
        drive: Path,
        tiny_bundle: Path,
    ) -> None:
        monkeypatch.setattr(command, "_check_ros", lambda: None)
        (tmp_path / "decoded").mkdir()
        (tmp_path / "decoded" / "thesis.txt").write_text("all of it")
        assert run("--bag", str(drive), "--model", str(tiny_bundle), "--out", str(tmp_path)) == 1
        assert "left alone" in capsys.readouterr().err
        (tmp_path / "file").write_text("")
        assert run("--bag", str(drive), "--model", str(tiny_bundle), "--out", str(tmp_path / "file" / "x")) == 1
        assert "cannot make the folder" in capsys.readouterr().err

    def test_what_is_not_rectified_is_refused_and_the_remedy_is_an_option(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        tmp_path: Path,
        unrectified: Path,
        tiny_bundle: Path,
    ) -> None:
        monkeypatch.setattr(command, "_check_ros", lambda: None)
        words = ["--bag", str(unrectified), "--model", str(tiny_bundle), "--out", str(tmp_path / "out")]
        assert run(*words) == 1
        assert "--rectify-images" in capsys.readouterr().err
        assert run("--help") == 0
        helped = capsys.readouterr().out
        for option in ("--rectify-images", "--left-topic", "--right-topic", "--layout", "--cameras", "--side-slop"):
            assert option in helped

    @pytest.mark.parametrize(
        "words",
        [
            ["--size", "big"],
            ["--size", "8x8"],
            ["--frames", "0"],
            ["--steps", "x"],
            ["--rate", "-2"],
            ["--layout", "x"],
        ],
    )
    def test_bad_options(self, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert run(*words) == 2
        assert words[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "coded"),
    [((256, 512), (128, 256)), ((375, 1242), (128, 416)), ((100, 300), (96, 304)), ((40, 60), (64, 128))],
)
def test_default_size(source: tuple[int, int], coded: tuple[int, int]) -> None:
    assert command.coded_size(*source) == coded


def test_demo_error_is_no_value_error() -> None:
    assert not issubclass(DemoError, ValueError)  # it must not be taken for a bad packet
