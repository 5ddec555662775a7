"""mdic encode and mdic decode."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mdic_ros.datasets.bag import BagReader
from mdic_ros.datasets.images import read_image

Mdic = Callable[..., Any]


def test_image_to_packet_to_picture(mdic: Mdic, pairs: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    packet, decoded = tmp_path / "a.mdic", tmp_path / "a.png"
    left, right = pairs / "left" / "0.png", pairs / "right" / "0.png"
    result = mdic("encode", left, packet, "--size", "64x128", "--model", tiny_bundle)
    assert result.code == 0
    assert f"{packet.stat().st_size} bytes for the left image at 64x128, resized from 80x160" in result.err
    assert "64x128, of the left camera" in mdic("info", packet).out
    said = mdic("decode", packet, decoded, "--side", right, "--model", tiny_bundle)
    assert said.code == 0 and "the side image, 80x160, is scaled to the coded 64x128" in said.err
    assert read_image(decoded).shape == (64, 128, 3)
    first = decoded.read_bytes()
    assert mdic("decode", packet, decoded, "--side", right, "--model", tiny_bundle).code == 2  # it exists
    mdic("decode", packet, decoded, "--side", right, "--model", tiny_bundle, "--force")
    assert decoded.read_bytes() == first
    mdic("decode", packet, decoded, "--side", right, "--model", tiny_bundle, "--force", "--seed", 3)
    assert decoded.read_bytes() != first
    mdic("encode", right, packet, "--size", "64x128", "--model", tiny_bundle, "--view", "right", "--force")
    assert "64x128, of the right camera" in mdic("info", packet).out
    alone = mdic("decode", packet, tmp_path / "b.png", "--model", tiny_bundle, "--dtype", "float32", "--threads", 1)
    assert (alone.code, "--side" in alone.err, "much coarser" in alone.err) == (0, True, True)


def test_nothing_is_written_over_what_is_read(mdic: Mdic, pairs: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    left, right, model = pairs / "left" / "0.png", pairs / "right" / "0.png", ("--model", tiny_bundle)
    before = left.read_bytes(), right.read_bytes()
    for output in (left, tmp_path / "packet.png", tmp_path / "packet"):
        refused = mdic("encode", left, output, "--force", *model)
        assert refused.code == 2 and "must end in .mdic" in refused.err
    packet = tmp_path / "a.mdic"
    mdic("encode", left, packet, *model)
    (tmp_path / "link.png").symlink_to(right)
    for output in (right, tmp_path / "link.png"):
        refused = mdic("decode", packet, output, "--side", right, "--force", *model)
        assert refused.code == 2 and "is an input" in refused.err
    assert mdic("decode", packet, packet, "--force", *model).code == 2
    assert (left.read_bytes(), right.read_bytes()) == before


def test_threads_are_limited(mdic: Mdic, pairs: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    left, packet, model = pairs / "left" / "0.png", tmp_path / "a.mdic", ("--model", tiny_bundle)
    for number in ("257", "100000"):
        refused = mdic("encode", left, packet, "--threads", number, *model)
        assert (refused.code, packet.exists()) == (2, False) and "256" in refused.err
    mdic("encode", left, packet, "--threads", "2", *model)
    refused = mdic("decode", packet, tmp_path / "a.png", "--threads", "100000", *model)
    assert refused.code == 2 and "256" in refused.err


def test_encode_options_that_do_not_fit(mdic: Mdic, pairs: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    left, packet = pairs / "left" / "0.png", tmp_path / "a.mdic"
    assert mdic("encode", left, packet, "--rate-point", 99, "--model", tiny_bundle).code == 2
    tight = mdic("encode", left, packet, "--max-bytes", 1, "--model", tiny_bundle)
    assert (tight.code, packet.exists()) == (1, False)
    assert mdic("encode", left, packet, "--size", "32x32", "--model", tiny_bundle).code == 2
    assert mdic("encode", left, packet, "--model", pairs).code == 1  # not a bundle
    assert not packet.exists()


@pytest.mark.parametrize("device", ["foo", "cuda:99"])
def test_devices_that_are_not_there(mdic: Mdic, pairs: Path, tmp_path: Path, tiny_bundle: Path, device: str) -> None:
    left, packet = pairs / "left" / "0.png", tmp_path / "a.mdic"
    asked = ("--model", tiny_bundle, "--device", device)
    result = mdic("encode", left, packet, *asked)
    assert result.code == 1 and device in result.err and not packet.exists()
    assert mdic("encode", left, packet, "--model", tiny_bundle).code == 0
    result = mdic("decode", packet, tmp_path / "a.png", *asked)
    assert result.code == 1 and device in result.err


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
    assert "2 frames (2 at rate point 1)" in coded.err and "kbit/s" in coded.err and "squeezed" not in coded.err
    again = mdic("encode", pairs, tmp_path / "c", *model)
    assert again.code == 2 and "exists" in again.err
    info = mdic("info", tmp_path / "c")
    assert "80x160 coded as 64x128" in info.out
    assert "2 pairs within" in info.out  # bitstream and side image
    decoded = mdic("decode", tmp_path / "c", tmp_path / "d", "--caption", "a street", *model)
    assert decoded.code == 0
    with BagReader(tmp_path / "d") as reader:
        assert reader.topics["/stereo/left/image_reconstructed"].count == 2
        report = reader.decode(next(iter(reader.messages(["/stereo/left/report"]))))
    assert report.caption == "a street"


def test_mistakes_are_found_before_torch_is_loaded(mdic: Mdic, pairs: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    packet, bag, coded = tmp_path / "a.mdic", tmp_path / "bag", tmp_path / "coded"
    left, right, model = pairs / "left" / "0.png", pairs / "right" / "0.png", ("--model", tiny_bundle)
    mdic("encode", left, packet, *model)
    mdic("encode", pairs, coded, *model)
    mdic("bag", "write", pairs, bag)
    picture, pictures = tmp_path / "a.png", tmp_path / "decoded"
    (tmp_path / "text.mdic").write_text("no packet")
    calls = {
        "cannot be read: No such file": ["decode", packet, picture, "--side", tmp_path / "gone.png", *model],
        "is a picture, not a packet": ["decode", left, picture, *model],
        "no mdic packet": ["decode", tmp_path / "text.mdic", picture, *model],
        "no packets": ["decode", bag, pictures, *model],
        "no packets in topic /other": ["decode", coded, pictures, "--topic", "/other", *model],
        "no images in topic /nothing": ["decode", coded, pictures, "--side", "/nothing", *model],
        "is no bundle": ["decode", packet, picture, "--side", right, "--model", pairs],
        "no such file or folder": ["eval", tmp_path / "absent", "--protocol", "64x128", *model],
    }
    code = """
import json, sys
from mdic_ros.cli import main
for call in json.loads(sys.argv[1]):
    try:
        main(call)
    except SystemExit as error:
        print(error.code, "torch" in sys.modules)
"""
    asked = json.dumps([[str(argument) for argument in call] for call in calls.values()])
    done = subprocess.run([sys.executable, "-c", code, asked], capture_output=True, text=True, check=True)
    errors = done.stderr.splitlines()
    assert len(errors) == len(calls), done.stderr
    for said, error in zip(calls, errors, strict=True):
        assert said in error
    assert all(line in ("1 False", "2 False") for line in done.stdout.splitlines())
    assert not picture.exists() and not pictures.exists()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("name", ["my left.{}", "left.mdic"])
def test_a_picture_is_no_packet(mdic: Mdic, pairs: Path, tmp_path: Path, form: str, name: str) -> None:
    picture = tmp_path / name.format(form.lower())
    Image.open(pairs / "left" / "0.png").save(picture, form)
    for call in (("decode", picture, tmp_path / "decoded.png"), ("info", picture)):
        refused = mdic(*call)
        assert refused.code == 2 and f"{picture} is a picture, not a packet. First: mdic encode " in refused.err
        packet = shlex.quote(picture.with_suffix(".mdic").name)
        assert f"then: mdic decode {packet} decoded.png --side OTHER_CAMERA.png" in refused.err


def test_images_are_known_by_content_too(mdic: Mdic, pairs: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    plain = tmp_path / "picture"
    plain.write_bytes((pairs / "left" / "0.png").read_bytes())
    assert mdic("encode", plain, tmp_path / "a.mdic", "--model", tiny_bundle).code == 0


def test_a_file_that_is_neither_image_nor_bag(mdic: Mdic, tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text("# Read me")
    refused = mdic("encode", file, tmp_path / "a.mdic")
    assert refused.code == 2
    assert refused.err == f"error: {file} is neither an image (PNG, JPEG, WebP) nor a bag\n"
    refused = mdic("bag", "write", file, tmp_path / "b")
    assert refused.code == 1 and refused.err.count("\n") == 1 and "is a file" in refused.err


def test_one_pair_beside_recordings(mdic: Mdic, pairs: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    for side in ("left", "right"):
        (tmp_path / f"{side}.png").write_bytes((pairs / side / "0.png").read_bytes())
    coded = mdic("encode", tmp_path, tmp_path.parent / "coded_above", "--model", tiny_bundle)
    assert coded.code == 0
    assert f"only one pair here; did you mean {pairs}?" in coded.err
    assert ": 1 frame (" in coded.err and "nan" not in coded.err and "kbit/s" not in coded.err


def test_swapped_sizes_are_told(mdic: Mdic, pairs: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    left, note = pairs / "left" / "0.png", "note: 256x128 is height x width; the image is 80x160 and is squeezed\n"
    swapped = ("--size", "256x128", "--model", tiny_bundle)
    assert note in mdic("encode", left, tmp_path / "a.mdic", *swapped).err
    assert mdic("encode", pairs, tmp_path / "c", *swapped).err.count(note) == 1
    kept = mdic("encode", left, tmp_path / "b.mdic", "--size", "64x128", "--model", tiny_bundle)
    assert kept.code == 0 and "squeezed" not in kept.err


def test_what_is_no_packet_is_said_before_the_name_of_the_output(mdic: Mdic, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for output in ("out", "out.png"):
        result = mdic("decode", tmp_path / "empty", tmp_path / output)
        assert result.code == 2 and "empty is neither a packet nor a recording" in result.err


def test_one_frame_has_no_rate(mdic: Mdic, pairs: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    for side in ("left", "right"):
        (pairs / side / "1.png").unlink()
    coded = mdic("encode", pairs, tmp_path / "c", "--model", tiny_bundle)
    decoded = mdic("decode", tmp_path / "c", tmp_path / "d", "--model", tiny_bundle)
    for result in (coded, decoded):
        assert result.code == 0 and "1 frame (" in result.err
        assert "nan" not in result.err and "kbit/s" not in result.err
    assert "nan" not in mdic("bag", "info", tmp_path / "c").out


def test_bundle_info(mdic: Mdic, tiny_bundle: Path) -> None:
    from mdic_ros.codec import Bundle

    result = mdic("info", tiny_bundle)
    assert result.code == 0
    assert Bundle(tiny_bundle).fingerprint in result.out
    assert "entropy_model" in result.out
