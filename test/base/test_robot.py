"""What a robot does with the base install: PyTorch and what else the workstation needs are not there.

These run in the environment of tools/base_env.py (`make base-test`), not in the suite's own.
"""

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from mdic_ros.codec import Encoder, inspect
from mdic_ros.errors import MdicError
from mdic_ros.stream import EncodeSession, EncodeSettings

WORKSTATION = ["torch", "diffusers", "transformers", "tokenizers", "vector_quantize_pytorch"]


@pytest.mark.parametrize("library", [*WORKSTATION, "constriction", "av", "cv2", "accelerate", "onnx", "scipy"])
def test_the_workstations_libraries_are_not_here(library):
    assert find_spec(library) is None


def test_an_image_becomes_packets(views):
    encoder = Encoder.from_pretrained()
    streams = encoder.encode_all(views[0])
    assert [inspect(stream).rate_point for stream in streams] == list(range(encoder.rate_points))
    assert [encoder.encode(views[0], rate_point=point) for point in range(encoder.rate_points)] == streams
    assert len(encoder.encode(views[1], max_bytes=200, view="right")) <= 200
    for size in ((64, 128), (101, 333), (375, 1242)):
        image = np.resize(views[0], (*size, 3))
        header = inspect(encoder.encode(image))
        assert (header.height, header.width) == size


def test_a_stream_of_images(views):
    session = EncodeSession(Encoder.from_pretrained(), EncodeSettings(coded_height=128, coded_width=256))
    for number in range(3):
        frame = session.push(views[0], 10**9 + number * 10**8, number / 10)
        assert frame.size == (128, 256) and frame.sequence == number and inspect(frame.data).height == 128


def test_a_process_that_encodes_stays_small(picture):
    """Under 250 MB in all, at 128x256."""
    code = f"""
from mdic_ros.codec import Encoder
from mdic_ros.codec.images import resize_image
from mdic_ros.datasets.images import read_image
from pathlib import Path
encoder, image = Encoder.from_pretrained(), resize_image(read_image(Path({str(picture)!r})), 128, 256)
for _ in range(10):
    encoder.encode(image)
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 250_000


def test_encode_and_info(mdic, picture, tmp_path):
    packet = tmp_path / "left.mdic"
    done = mdic("encode", picture, packet, "--size", "128x256", "--rate-point", 1)
    assert done.returncode == 0 and "bytes for the left image at 128x256" in done.stderr
    assert inspect(packet.read_bytes()).rate_point == 1
    done = mdic("info", packet)
    assert done.returncode == 0 and "128x256" in done.stdout
    done = mdic("info", "models/mdic_tiny")
    assert done.returncode == 0 and "mdic_tiny" in done.stdout
    for call in ((), ("--help",), ("--version",), ("decode", "--help"), ("train", "--help")):
        done = mdic(*call)
        assert "Traceback" not in done.stderr and done.stdout


def test_bags(mdic, picture, views, tmp_path):
    from mdic_ros.codec.images import resize_image
    from mdic_ros.datasets.images import encode_image

    for view, image in zip(("left", "right"), views, strict=True):
        (tmp_path / "pairs" / view).mkdir(parents=True)
        (tmp_path / "pairs" / view / "000000.png").write_bytes(encode_image(resize_image(image, 128, 256), "png"))
    done = mdic("bag", "write", tmp_path / "pairs", tmp_path / "bag")
    assert done.returncode == 0, done.stderr
    done = mdic("bag", "info", tmp_path / "bag")
    assert done.returncode == 0 and "/left/image" in done.stdout
    done = mdic("encode", tmp_path / "bag", tmp_path / "coded")
    assert done.returncode == 0 and ": 1 frame (" in done.stderr and "kbit/s" not in done.stderr
    done = mdic("info", tmp_path / "coded")
    assert done.returncode == 0 and "bitstream" in done.stdout


def test_bench_of_the_robots_half(mdic):
    done = mdic("bench", "--encode-only", "--size", "64x128", "--frames", 2)
    assert done.returncode == 0, done.stderr
    assert "**encode**" in done.stdout and "**installed**" in done.stdout and "**decode**" not in done.stdout


@pytest.mark.parametrize(
    ("call", "extra"),
    [
        (("decode", "{packet}", "out.png"), "workstation"),
        (("eval", "sample/street"), "eval"),
        (("bench",), "eval"),
        (("train", "codec", "--data", "sample/street", "--bundle", "b", "--out", "o"), "train"),
        (("pack", "sample/street", "pairs.zip"), "train"),
        (("export", "models/mdic_tiny"), "train"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_needs_more_names_the_extra(mdic, picture, tmp_path, call, extra):
    packet = tmp_path / "left.mdic"
    assert mdic("encode", picture, packet).returncode == 0
    done = mdic(*(text.format(packet=packet) for text in call))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"pip install '.[{extra}]' in the checkout" in done.stderr, done.stderr
    assert "whl/cpu" in done.stderr and ("--encode-only" in done.stderr) == (call[0] == "bench")


def test_a_decoder_names_the_extra():
    from mdic_ros import codec

    with pytest.raises(MdicError, match=r"torch.*pip install '\.\[workstation\]'"):
        codec.Decoder.from_pretrained()
    with pytest.raises(MdicError, match="workstation"):
        from mdic_ros.codec import Decoder  # noqa: F401
    with pytest.raises(MdicError, match="workstation"):
        from mdic_ros.stream import DecodeSession  # noqa: F401
