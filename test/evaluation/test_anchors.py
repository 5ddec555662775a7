"""Conventional codecs: real encoders, decoded from the bytes that are counted."""

import os
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from mdic_ros.datasets import open_stereo
from mdic_ros.evaluation.anchors import ANCHORS, Anchor, Coded, _obus, _vcl_bytes, closest
from mdic_ros.evaluation.metrics import decibel, ms_ssim, psnr
from mdic_ros.evaluation.protocol import as_coded

BY_NAME = {anchor.name: anchor for anchor in ANCHORS}
DEV = Path(__file__).parents[3] / "shared" / "data" / "stereo" / "dev"
CODECS = [anchor for anchor in ANCHORS if anchor.name != "side image copied"]


def scene(height: int, width: int, shift: int = 0) -> np.ndarray:
    """A coloured picture with detail, moved to the left by some pixels."""
    coarse = np.random.default_rng(1).integers(0, 256, (9, 18, 3), np.uint8)
    wide = np.asarray(Image.fromarray(coarse).resize((width + 16, height), Image.Resampling.BICUBIC))
    return np.ascontiguousarray(wide[:, shift : shift + width])


LEFT, RIGHT = scene(96, 160), scene(96, 160, 4)


def test_names() -> None:
    assert list(BY_NAME) == [
        "side image copied", "JPEG", "WebP", "AVIF", "x265 intra", "x265 joint", "SVT-AV1 intra",
    ]  # fmt: skip
    assert [a.name for a in ANCHORS if a.sees_both] == ["x265 joint"]


def test_the_copied_side_image_is_free() -> None:
    coded = BY_NAME["side image copied"].code(LEFT, RIGHT, 0)
    assert coded.bytes == 0
    np.testing.assert_array_equal(coded.image, RIGHT)


@pytest.mark.parametrize("anchor", CODECS, ids=lambda a: a.name)
def test_finer_settings_take_more_bytes_for_a_better_picture(anchor: Anchor) -> None:
    coarse, fine = (anchor.code(LEFT, RIGHT, anchor.settings[i]) for i in (0, -1))
    assert 0 < coarse.bytes < fine.bytes
    assert psnr(coarse.image, LEFT) < psnr(fine.image, LEFT)
    again = anchor.code(LEFT, RIGHT, anchor.settings[0])
    assert again.bytes == coarse.bytes
    np.testing.assert_array_equal(again.image, coarse.image)


@pytest.mark.parametrize("anchor", CODECS, ids=lambda a: a.name)
def test_colours_come_back_as_they_were(anchor: Anchor) -> None:
    """A wrong matrix or range moves flat colours by ten and more."""
    left = np.empty((64, 128, 3), np.uint8)
    colours = [(0, 0, 0), (255, 255, 255), (128, 128, 128), (200, 40, 40), (40, 160, 60), (30, 60, 200)]
    for number, colour in enumerate(colours):
        left[:, number * 22 : (number + 1) * 22] = colour
    fine = 50 if anchor.name == "JPEG" else anchor.settings[-1]  # at its own finest, JPEG has a few shades left
    decoded = anchor.code(left, left, fine).image
    for number, colour in enumerate(colours):
        inner = decoded[16:48, number * 22 + 6 : number * 22 + 14].reshape(-1, 3).mean(0)
        np.testing.assert_allclose(inner, colour, atol=8)


@pytest.mark.parametrize("anchor", CODECS, ids=lambda a: a.name)
def test_odd_sizes_keep_their_size_and_their_last_pixels(anchor: Anchor) -> None:
    left, right = scene(75, 131), scene(75, 131, 4)
    decoded = anchor.code(left, right, anchor.settings[-1]).image
    assert decoded.shape == left.shape and decoded.dtype == np.uint8
    assert np.abs(decoded[-1].astype(int) - left[-1]).mean() < 25
    assert np.abs(decoded[:, -1].astype(int) - left[:, -1]).mean() < 25


def test_only_the_joint_encoder_uses_the_side_image() -> None:
    black = np.zeros_like(RIGHT)
    for anchor in CODECS:
        with_side, without = (anchor.code(LEFT, side, anchor.settings[0]) for side in (RIGHT, black))
        assert np.array_equal(with_side.image, without.image) != anchor.sees_both, anchor.name
    intra, joint = (BY_NAME[f"x265 {kind}"].code(LEFT, RIGHT, 48) for kind in ("intra", "joint"))
    assert joint.bytes < intra.bytes / 2 and psnr(joint.image, LEFT) > psnr(intra.image, LEFT)


def test_bytes_of_files_are_those_of_the_file(tmp_path: Path) -> None:
    Image.fromarray(LEFT).save(tmp_path / "x.jpg", quality=5, optimize=True)
    assert BY_NAME["JPEG"].code(LEFT, RIGHT, 5).bytes == (tmp_path / "x.jpg").stat().st_size


def test_parameter_sets_and_start_codes_are_not_counted() -> None:
    parameter_set, slice_ = b"\x40\x01" + bytes([7] * 20), b"\x26\x01" + bytes([9] * 30)
    packet = av.Packet(b"\0\0\0\1" + parameter_set + b"\0\0\0\1" + slice_ + b"\0\0\1" + slice_[:10])
    assert _vcl_bytes(packet) == 32 + 10


def test_units_of_av1() -> None:
    delimiter, header = bytes([2 << 3 | 2, 0]), bytes([1 << 3 | 2, 3, 1, 2, 3])
    frame = bytes([6 << 3 | 2, 0x80 | 72, 1]) + bytes(200)  # 200 in leb128 is c8 01
    assert list(_obus(delimiter + header + frame)) == [(2, 2), (1, 5), (6, 203)]
    assert list(_obus(bytes([6 << 3]) + bytes(9))) == [(6, 10)]  # without a size it goes to the end


def test_the_closest_version_in_bytes() -> None:
    def code(left: np.ndarray, right: np.ndarray, setting: int) -> Coded:
        return Coded(left, (60 - setting) ** 2)

    anchor = Anchor("squares", False, "all", (55, 50, 40), code)
    assert closest(anchor, LEFT, RIGHT, 150).bytes == 144  # 48, between its settings
    assert closest(anchor, LEFT, RIGHT, 140).bytes == 144
    assert closest(anchor, LEFT, RIGHT, 1).bytes == 25
    assert closest(anchor, LEFT, RIGHT, 9999).bytes == 400


def test_a_real_codec_comes_close() -> None:
    found = closest(BY_NAME["x265 intra"], LEFT, RIGHT, 250)
    every = [BY_NAME["x265 intra"].code(LEFT, RIGHT, qp).bytes for qp in range(40, 52)]
    assert found.bytes == min(every, key=lambda n: abs(n - 250))


@pytest.mark.skipif(not DEV.exists(), reason="needs KITTI images that are not in the repository")
@pytest.mark.parametrize(
    ("name", "setting", "size", "quality", "similarity"),
    [("x265 intra", 51, 305, 21.69, 8.09), ("x265 joint", 48, 111, 25.12, 12.26), ("WebP", 0, 784, 23.27, 9.65),
     ("JPEG", 1, 793, 20.53, 7.07), ("AVIF", 0, 795, 23.14, 10.15), ("side image copied", 0, 0, 15.81, 4.66)],
)  # fmt: skip
def test_known_figures(name: str, setting: int, size: float, quality: float, similarity: float) -> None:
    """Means over 40 pairs of KITTI odometry that were measured once by other means; four of them must be near."""
    pairs = []
    for drive in sorted(DEV.iterdir()):
        frame = open_stereo(drive)[5]
        pairs.append((as_coded(frame.left, "kitti"), as_coded(frame.right, "kitti")))
    coded = [BY_NAME[name].code(left, right, setting) for left, right in pairs]
    assert np.mean([c.bytes for c in coded]) == pytest.approx(size, rel=0.1, abs=1)
    assert np.mean([psnr(c.image, left) for c, (left, _) in zip(coded, pairs)]) == pytest.approx(quality, abs=0.6)
    mean = float(np.mean([ms_ssim(c.image, left) for c, (left, _) in zip(coded, pairs)]))
    assert decibel(mean) == pytest.approx(similarity, abs=0.6)


def test_no_codec_changes_how_this_process_is_scheduled() -> None:
    # SVT-AV1 makes a process of root a real-time one: what it starts then never lets others run.
    picture = np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)

    def scheduling() -> set[int]:
        return {os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")}

    before = scheduling()
    for anchor in ANCHORS:
        anchor.code(picture, picture, anchor.settings[0])
        assert scheduling() <= before, anchor.name
