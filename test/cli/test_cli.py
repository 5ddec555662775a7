"""The mdic command, as a user calls it: arguments in, exit code, text and files out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mdic_ros import cli
from mdic_ros.datasets.bag import BagReader
from mdic_ros.datasets.images import read_image


class Result:
    """Exit code and text of one call."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Mdic = Callable[..., "Result"]


@pytest.fixture
def mdic(capsys: pytest.CaptureFixture[str]) -> Mdic:
    """Calls the command in this process."""

    def call(*arguments: object) -> Result:
        with pytest.raises(SystemExit) as exit_info:
            cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        code = exit_info.value.code
        return Result(code if isinstance(code, int) else 0, out, err)

    return call


def picture(seed: int, height: int = 80, width: int = 160) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 9, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """left and right with two images each."""
    for side, offset in (("left", 0), ("right", 10)):
        (tmp_path / "pairs" / side).mkdir(parents=True)
        for index in range(2):
            Image.fromarray(picture(index + offset)).save(tmp_path / "pairs" / side / f"{index}.png")
    return tmp_path / "pairs"


# --- help and usage ---


def test_help_names_every_command(mdic: Mdic) -> None:
    result = mdic("--help")
    assert result.code == 0
    for command in ("bag", "encode", "decode", "info"):
        assert f" {command} " in result.out


@pytest.mark.parametrize("command", [["bag", "write"], ["bag", "info"], ["encode"], ["decode"], ["info"], ["eval"]])
def test_help_of_commands_has_examples(mdic: Mdic, command: list[str]) -> None:
    result = mdic(*command, "--help")
    assert result.code == 0
    assert f"mdic {' '.join(command)} " in result.out.split("Example")[1]


def test_help_loads_no_network() -> None:
    code = "import sys\nfrom mdic_ros.cli import main\ntry: main(['encode', '--help'])\n"
    code += "finally: print('LOADED', sorted({'torch', 'numpy', 'rosbags', 'rclpy'} & set(sys.modules)))"
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert "LOADED []" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode"],
        ["nonsense"],
        ["bag", "write", "a", "b", "--images", "gif"],
        ["encode", "a.png", "b.mdic", "--size", "128"],
        ["encode", "a.png", "b.mdic", "--max-bytes", "0"],
        ["decode", "a", "b", "--steps", "0"],
        ["eval", "a", "--steps", "1,x"],
        ["eval", "a", "--steps", "0"],
    ],
)
def test_usage_errors_are_exit_code_2(mdic: Mdic, arguments: list[str]) -> None:
    assert mdic(*arguments).code == 2


# --- bags ---


def test_bag_write_and_info(mdic: Mdic, pairs: Path, tmp_path: Path) -> None:
    result = mdic("bag", "write", pairs, tmp_path / "b", "--storage", "sqlite3", "--images", "png", "--rate", 20)
    assert result.code == 0
    assert "2 frames of folder" in result.err
    assert (tmp_path / "b" / "b.db3").exists()
    for command in (["bag", "info"], ["info"]):
        info = mdic(*command, tmp_path / "b")
        assert info.code == 0
        assert "/stereo/left/image_raw/compressed" in info.out
        assert "2 pairs within" in info.out
        assert "every 50.0 ms" in info.out


def test_bag_write_refuses_to_overwrite(mdic: Mdic, pairs: Path, tmp_path: Path) -> None:
    assert mdic("bag", "write", pairs, tmp_path / "b").code == 0
    again = mdic("bag", "write", pairs, tmp_path / "b")
    assert again.code == 1
    assert "--force" in again.err
    assert mdic("bag", "write", pairs, tmp_path / "b", "--force").code == 0


def test_broken_images_are_reported(mdic: Mdic, pairs: Path, tmp_path: Path) -> None:
    (pairs / "left" / "1.png").write_bytes((pairs / "left" / "1.png").read_bytes()[:80])
    result = mdic("bag", "write", pairs, tmp_path / "b")
    assert result.code == 0
    assert str(pairs / "left" / "1.png") in result.err
    assert "1 frames of folder, 1 left out" in result.err


def test_user_errors_are_one_message(mdic: Mdic, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello, this is no packet")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.mcap").write_bytes(b"x" * 50)
    for arguments in (
        ["bag", "write", tmp_path / "nothing", tmp_path / "b"],
        ["bag", "write", tmp_path / "empty", tmp_path / "b"],
        ["bag", "info", tmp_path / "nothing"],
        ["bag", "info", tmp_path / "broken.mcap"],
        ["encode", tmp_path / "nothing.png", tmp_path / "b.mdic"],
        ["encode", tmp_path / "empty", tmp_path / "b"],
        ["decode", tmp_path / "nothing.mdic", tmp_path / "b.png"],
        ["info", tmp_path / "text"],
        ["info", tmp_path / "nothing"],
    ):
        result = mdic(*arguments)
        assert result.code == 1, arguments
        assert result.err.startswith("error: "), arguments
        assert str(tmp_path) in result.err or "text" in str(arguments), arguments
    assert mdic("info", tmp_path / "empty").code == 2


# --- the codec ---


def test_a_training_that_went_astray_is_one_message(
    mdic: Mdic, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def astray(*_: object) -> None:
        raise FloatingPointError("the loss was not finite in 10 steps in a row. Lower learning_rate")

    monkeypatch.setattr("mdic_ros.training.stages.train", astray)
    result = mdic("train", "autoencoder", "--data", pairs, "--bundle", tmp_path / "b", "--out", tmp_path / "o")
    assert result.code == 1 and "error: the loss was not finite in 10 steps in a row. Lower learning_rate" in result.err


def test_image_to_packet_to_picture(mdic: Mdic, pairs: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    packet, decoded = tmp_path / "a.mdic", tmp_path / "a.png"
    left, right = pairs / "left" / "0.png", pairs / "right" / "0.png"
    result = mdic("encode", left, packet, "--size", "64x128", "--model", tiny_bundle)
    assert result.code == 0
    assert f"{packet.stat().st_size} bytes" in result.err
    info = mdic("info", packet)
    assert "128x64" in info.out
    assert mdic("decode", packet, decoded, "--side", right, "--model", tiny_bundle).code == 0
    assert read_image(decoded).shape == (64, 128, 3)
    first = decoded.read_bytes()
    assert mdic("decode", packet, decoded, "--side", right, "--model", tiny_bundle).code == 2  # it exists
    mdic("decode", packet, decoded, "--side", right, "--model", tiny_bundle, "--force")
    assert decoded.read_bytes() == first
    mdic("decode", packet, decoded, "--side", right, "--model", tiny_bundle, "--force", "--seed", 3)
    assert decoded.read_bytes() != first
    mdic("encode", right, packet, "--size", "64x128", "--model", tiny_bundle, "--view", "right", "--force")
    assert "128x64, of the right camera" in mdic("info", packet).out
    assert mdic("encode", right, packet, "--view", "middle", "--model", tiny_bundle, "--force").code == 2
    alone = mdic("decode", packet, tmp_path / "b.png", "--model", tiny_bundle)
    assert (alone.code, "--side" in alone.err) == (0, True)


def test_encode_options_that_do_not_fit(mdic: Mdic, pairs: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    left, packet = pairs / "left" / "0.png", tmp_path / "a.mdic"
    assert mdic("encode", left, packet, "--rate-point", 99, "--model", tiny_bundle).code == 2
    tight = mdic("encode", left, packet, "--max-bytes", 1, "--model", tiny_bundle)
    assert (tight.code, packet.exists()) == (1, False)
    assert mdic("encode", left, packet, "--size", "32x32", "--model", tiny_bundle).code == 1
    assert mdic("encode", left, packet, "--model", pairs).code == 1  # not a bundle
    assert not packet.exists()


@pytest.mark.parametrize("device", ["foo", "cuda:99"])
def test_devices_that_are_not_there(mdic: Mdic, pairs: Path, tmp_path: Path, tiny_bundle: Path, device: str) -> None:
    left, packet = pairs / "left" / "0.png", tmp_path / "a.mdic"
    asked = ("--model", tiny_bundle, "--device", device)
    result = mdic("encode", left, packet, *asked)
    assert result.code == 2 and f"'{device}' is no device" in result.err and not packet.exists()
    assert mdic("encode", left, packet, "--model", tiny_bundle).code == 0
    assert mdic("decode", packet, tmp_path / "a.png", *asked).code == 2


def test_foreign_and_damaged_packets(
    mdic: Mdic,
    pairs: Path,
    tmp_path: Path,
    tiny_bundle: Path,
    other_bundle: Path,
) -> None:
    packet = tmp_path / "a.mdic"
    mdic("encode", pairs / "left" / "0.png", packet, "--size", "64x128", "--model", tiny_bundle)
    foreign = mdic("decode", packet, tmp_path / "a.png", "--model", other_bundle)
    assert (foreign.code, (tmp_path / "a.png").exists()) == (1, False)
    packet.write_bytes(packet.read_bytes()[:3])
    assert mdic("decode", packet, tmp_path / "a.png", "--model", tiny_bundle).code == 1
    packet.write_bytes(bytes(2_000_000))
    huge = mdic("decode", packet, tmp_path / "a.png", "--model", tiny_bundle)
    assert (huge.code, "is it one?" in huge.err) == (1, True)


def test_recording_to_bag_to_bag(mdic: Mdic, pairs: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    model = ("--model", tiny_bundle)
    coded = mdic("encode", pairs, tmp_path / "c", "--size", "64x128", "--rate-point", 1, *model)
    assert coded.code == 0
    assert "2 frames (2 at rate point 1)" in coded.err
    info = mdic("info", tmp_path / "c")
    assert "160x80 coded as 128x64" in info.out
    assert "2 pairs within" in info.out  # bitstream and side image
    decoded = mdic("decode", tmp_path / "c", tmp_path / "d", "--caption", "a street", *model)
    assert decoded.code == 0
    with BagReader(tmp_path / "d") as reader:
        assert reader.topics["/stereo/left/image_reconstructed"].count == 2
        report = reader.decode(next(iter(reader.messages(["/stereo/left/report"]))))
    assert report.caption == "a street"


def test_bundle_info(mdic: Mdic, tiny_bundle: Path) -> None:
    from mdic_ros.codec import Bundle

    result = mdic("info", tiny_bundle)
    assert result.code == 0
    assert Bundle(tiny_bundle).fingerprint in result.out
    assert "entropy_model" in result.out


# --- evaluation ---


def test_eval_prints_tables_and_fills_a_folder(mdic: Mdic, pairs: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    options = ("--protocol", "128x256", "--steps", "2,1", "--no-anchors", "--no-ablations", "--model", tiny_bundle)
    alone = mdic("eval", pairs, *options, "--limit", 1)
    assert alone.code == 0
    assert "1 image of 1 drive, protocol 128x256, coded at 128x256 (height x width), steps 1, 2." in alone.out
    assert "| steps | rate point | bytes (max) |" in alone.out
    kept = mdic("eval", pairs, *options, "--limit", 1, "--output", tmp_path / "report")
    assert kept.code == 0 and str(tmp_path / "report" / "index.html") in kept.err
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "index.html", "pictures", "plots", "report.json", "report.md", "rows.jsonl", "sheets"
    }  # fmt: skip
    table = alone.out[: alone.out.index("## To repeat it")]
    assert kept.out.startswith(table)
    other = mdic("eval", pairs, *options, "--protocol", "128x512", "--output", tmp_path / "report")
    assert other.code == 1 and "--output" in other.err


def test_eval_says_what_does_not_fit(mdic: Mdic, pairs: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    small = mdic("eval", pairs, "--model", tiny_bundle)
    assert small.code == 1 and "crops 370x740" in small.err
    assert mdic("eval", tmp_path / "nothing", "--model", tiny_bundle).code == 1
    unknown = mdic("eval", pairs, "--protocol", "widescreen", "--model", tiny_bundle)
    assert unknown.code == 1 and "no protocol 'widescreen'" in unknown.err


@pytest.mark.slow
def test_eval_in_several_processes(pairs: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    # What `accelerate launch` starts for several GPUs; on CPUs it wants MPI.
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "mdic_ros.cli", "eval", str(pairs), "--protocol", "128x256", "--steps", "1", "--no-anchors"]
    command += ["--no-ablations", "--model", str(tiny_bundle), "--output", str(tmp_path / "report")]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 images of 1 drive") == 1  # one of them reports
    for name in ("rows.jsonl", "rows-1.jsonl"):
        assert (tmp_path / "report" / name).read_text().count("\n") == 5
    assert (tmp_path / "report" / "index.html").exists()
