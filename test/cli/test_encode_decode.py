"""mdic encode and mdic decode."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
    assert (alone.code, "--side" in alone.err) == (0, True)


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
    assert mdic("encode", left, packet, "--size", "32x32", "--model", tiny_bundle).code == 1
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
    assert "2 frames (2 at rate point 1)" in coded.err
    info = mdic("info", tmp_path / "c")
    assert "80x160 coded as 64x128" in info.out
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
