"""mdic bag: recordings into bags, bags into pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mdic_ros.datasets import open_stereo
from mdic_ros.datasets.bag import BagReader
from mdic_ros.datasets.images import read_image

Mdic = Callable[..., Any]


def test_write_and_info(mdic: Mdic, pairs: Path, tmp_path: Path) -> None:
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


def test_write_refuses_to_overwrite(mdic: Mdic, pairs: Path, tmp_path: Path) -> None:
    assert mdic("bag", "write", pairs, tmp_path / "b").code == 0
    again = mdic("bag", "write", pairs, tmp_path / "b")
    assert again.code == 2
    assert "--force" in again.err
    (tmp_path / "mine").mkdir()
    assert mdic("bag", "write", pairs, tmp_path / "mine", "--force").code == 2  # no bag: it is left alone
    assert mdic("bag", "write", pairs, tmp_path / "b", "--force").code == 0


@pytest.mark.parametrize("place", ["b", "b/inside", "b/..", "."])
def test_a_bag_is_not_written_over_or_into_its_source(
    mdic: Mdic, pairs: Path, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mdic("bag", "write", pairs, tmp_path / "b")
    before = (tmp_path / "b" / "b.mcap").read_bytes()
    monkeypatch.chdir(tmp_path / "b")
    for command in (["bag", "write", "--images", "png"], ["encode"], ["decode"], ["bag", "images"]):
        result = mdic(*command, tmp_path / "b", tmp_path / place, "--force")
        assert result.code == 2 and "choose another" in result.err
    assert (tmp_path / "b" / "b.mcap").read_bytes() == before
    assert len(list((tmp_path / "b").iterdir())) == 2


def test_broken_images_are_reported(mdic: Mdic, pairs: Path, tmp_path: Path) -> None:
    (pairs / "left" / "1.png").write_bytes((pairs / "left" / "1.png").read_bytes()[:80])
    result = mdic("bag", "write", pairs, tmp_path / "b")
    assert result.code == 0
    assert str(pairs / "left" / "1.png") in result.err
    assert "1 frame of folder, 1 left out" in result.err
    result = mdic("bag", "images", pairs, tmp_path / "again")
    assert "left out: frame 1" in result.err and "2 images (1 in left, 1 in right)" in result.err


def test_images_of_pairs(mdic: Mdic, pairs: Path, tmp_path: Path) -> None:
    mdic("bag", "write", pairs, tmp_path / "b")
    result = mdic("bag", "images", tmp_path / "b", tmp_path / "out")
    assert result.code == 0 and "4 images (2 in left, 2 in right)" in result.err
    with open_stereo(tmp_path / "out") as written, open_stereo(pairs) as source:
        assert written.layout == "folder" and len(written) == 2
        for one, two in zip(written, source, strict=True):
            np.testing.assert_array_equal(one.left, two.left)
            np.testing.assert_array_equal(one.right, two.right)
    small = ("--size", "64x128", "--limit", 1, "--images", "jpeg")
    assert mdic("bag", "images", tmp_path / "b", tmp_path / "small", *small).code == 0
    (file,) = (tmp_path / "small" / "left").iterdir()
    assert file.suffix == ".jpg" and read_image(file).shape == (64, 128, 3)
    swapped = mdic("bag", "images", tmp_path / "b", tmp_path / "swapped", "--size", "128x64")
    assert swapped.err.count("note: 128x64 is height x width; the image is 80x160 and is squeezed") == 1
    full = mdic("bag", "images", tmp_path / "b", tmp_path / "out")
    assert full.code == 2 and "not empty" in full.err


def test_images_of_topics(mdic: Mdic, pairs: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    model = ("--model", tiny_bundle)
    mdic("encode", pairs, tmp_path / "c", "--size", "64x128", *model)
    assert mdic("decode", tmp_path / "c", tmp_path / "d", "--caption", "", *model).code == 0
    result = mdic("bag", "images", tmp_path / "d", tmp_path / "all")  # no pair in it, so all topics
    assert result.code == 0 and "4 images" in result.err
    with BagReader(tmp_path / "d") as reader:
        stamps = sorted(message.time_ns for message in reader.messages(["/stereo/left/mask"]))
    for topic in ("image_reconstructed", "mask"):
        files = sorted((tmp_path / "all" / "stereo" / "left" / topic).iterdir())
        assert [int(file.stem) for file in files] == stamps
    one = mdic("bag", "images", tmp_path / "d", tmp_path / "one", "--topic", "/stereo/left/mask", "--limit", 1)
    assert one.code == 0 and "1 images (1 in stereo/left/mask)" in one.err
    none = mdic("bag", "images", tmp_path / "d", tmp_path / "none", "--topic", "/nothing")
    assert none.code == 1 and "/stereo/left/mask" in none.err and not (tmp_path / "none").exists()


def test_sizes_are_height_x_width(mdic: Mdic, pairs: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    mdic("encode", pairs, tmp_path / "c", "--size", "64x128", "--model", tiny_bundle)
    shown = mdic("info", tmp_path / "c").out
    assert "80x160 coded as 64x128" in shown and "160x80" not in shown
    assert json.dumps(shown)
