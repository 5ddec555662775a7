"""What crops come with: where a point is in the other view, an older view, and other drives."""

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mdic_ros.training.data import (
    Batch,
    Pair,
    StereoCrops,
    disparities,
    earlier,
    foreign_batch,
    held_out_batch,
    mirrored_caption,
    protocol_view,
)

SHIFT = 12  #: pixels that each point of `stereo` lies further right in the left view


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    """H x W x 3 uint8, with texture everywhere and no edge that a resampling could blur."""
    noise = np.random.default_rng(seed).standard_normal((height, width, 3))
    blurred = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.clip(128 + 40 * blurred / blurred.std(), 0, 255).astype(np.uint8)


def stereo(drive: str = "a", name: str = "0", size: tuple[int, int] = (128, 384), *, matched: bool = False) -> Pair:
    scene = smooth(size[0], size[1] + SHIFT)
    left, right = Image.fromarray(scene[:, :-SHIFT]), Image.fromarray(scene[:, SHIFT:])
    return Pair(drive, name, left, right, f"a {drive}", (drive,), disparities(left, right) if matched else None)


@pytest.fixture(scope="module")
def matched() -> Pair:
    return stereo(matched=True)


def test_disparities_count_from_left_to_right_in_either_view(matched):
    for found in matched.disparity:
        assert found.dtype == np.float16 and found.shape == (128, 384)
        known = found[np.isfinite(found)]
        assert known.size > 0.7 * found.size and np.median(known) == SHIFT
        assert (np.abs(known - SHIFT) < 0.5).mean() > 0.95


@pytest.mark.parametrize(("unrectified", "joined"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)])
def test_the_flow_leads_from_x_to_the_same_point_in_y(matched, unrectified, joined):
    """Mirrored or not, dropped or not, at every zoom; and across the seam of two joined pairs nowhere."""
    crops = StereoCrops([matched], (64, 128), 16, unrectified=unrectified, joined=joined)
    batch = crops.sample(np.random.default_rng(0))
    down = batch.flow[:, 1].nanmean(dim=(1, 2))
    assert (down.abs() < 1e-6).all() if unrectified == 0 else down.abs().max() > 2
    rows, columns = np.mgrid[:64, :128].astype(np.float32)
    for x, y, flow in zip(batch.x, batch.y, batch.flow, strict=True):
        known = ~torch.isnan(flow[0])
        assert known.float().mean() > 0.6
        assert (flow[0][known] <= 0).all(), (
            "the left view's point lies further right, and the mirrored right view's too"
        )
        across, along = (torch.nan_to_num(part).numpy() for part in flow)
        grey_x, grey_y = x.mean(0).numpy(), y.mean(0).numpy()

        def error(sign: float) -> float:
            warped = cv2.remap(grey_y, columns + sign * across, rows + sign * along, cv2.INTER_LINEAR)  # noqa: B023
            inside = known.numpy() & (columns + across >= 0) & (rows + along >= 0) & (rows + along < 63)  # noqa: B023
            return float(np.abs(warped - grey_x)[inside].mean())  # noqa: B023

        assert error(1) < 0.04 and 4 * error(1) < error(-1)


def test_joined_crops_are_of_two_pairs_with_the_words_of_the_larger():
    flat = {name: Image.new("RGB", (384, 128), (value,) * 3) for name, value in (("dark", 60), ("light", 190))}
    pairs = [Pair(name, "0", image, image, f"a {name}", (name,)) for name, image in flat.items()]
    batch = StereoCrops(pairs, (64, 128), 64, joined=1.0).sample(np.random.default_rng(0))
    seams = 0
    for x, y, caption, tags in zip(batch.x, batch.y, batch.captions, batch.tags, strict=True):
        row = x.mean(dim=(0, 1))
        edges = (row.diff().abs() > 0.3).nonzero()[:, 0].tolist()
        if not edges:
            continue  # two crops of one pair
        seams += 1
        (edge,) = edges
        assert 31 <= edge < 96 and ((y.mean(dim=(0, 1)) > 0) == (row > 0)).all(), "both views have the seam there"
        assert caption == f"a {tags[0]}" and (tags[0] == "light") == bool(row[127 * (edge < 64)] > 0)
    assert seams > 16


def test_a_scene_weighs_as_much_as_a_drive_of_one_frame():
    image = Image.new("RGB", (40, 20))
    pairs = [Pair(drive, f"{n}", image, image, "", ()) for drive in ("street", "scenes") for n in range(16)]
    weight = StereoCrops(pairs, (64, 128), 1, scenes=["scenes"]).weight
    assert weight[16:].sum() == pytest.approx(4 * weight[:16].sum()), (
        "sixteen scenes are 16, a drive of sixteen frames is 4"
    )


def test_an_older_side_view_has_no_flow(matched):
    frames = [Pair("a", f"{n:06d}", matched.left, matched.right, "", (), matched.disparity) for n in range(4)]
    crops = StereoCrops(frames, (64, 128), 32, stale=1.0)
    batch = crops.sample(np.random.default_rng(0))
    known = (~torch.isnan(batch.flow)).flatten(1).any(1)
    assert 0 < known.sum() < 16, "only the first frame has none before it"
    assert not torch.isnan(StereoCrops(frames, (64, 128), 4).sample(np.random.default_rng(0)).flow).all()
    alone = StereoCrops(frames, (64, 128), 32, stale=1.0, scenes=["a"]).sample(np.random.default_rng(0))
    assert (~torch.isnan(alone.flow)).flatten(1).any(1).all()


def test_earlier_frames_are_of_the_same_run():
    def pair(name: str, folder: str = "train", drive: str = "a", width: int = 20) -> Pair:
        image = Image.new("RGB", (width, 10))
        return Pair(drive, name, image, image, "", (), folder=folder)

    frames = [pair("0008"), pair("0009"), pair("0011"), pair("0012")]
    assert earlier(frames, 2) == [[], [0], [1], [2]]
    assert earlier(frames, 10) == [[], [0], [1, 0], [2, 1, 0]]
    assert earlier(frames, 10, scenes=["b"])[1] == [0] and not any(earlier(frames, 10, scenes=["a"]))
    grey, wide, other = pair("0009", folder="grey"), pair("0009", width=30), pair("0009", drive="b")
    for stranger in (grey, wide, other, pair("x_0009"), pair("noon")):
        assert earlier([frames[0], stranger], 10) == [[], []]


def batch_of(drives: Sequence[str]) -> Batch:
    empty = torch.zeros(len(drives), 0)
    return Batch(empty, empty, [], [], empty, [frozenset(drive) for drive in drives])


def test_a_stranger_is_of_another_drive():
    assert batch_of("aab").strangers() == [2, 2, 0]
    assert batch_of("abab").strangers() == [1, 2, 3, 0]
    assert batch_of(["ab", "bc", "c", "d"]).strangers() == [2, 3, 3, 0], "of a joined crop, of both drives"
    assert batch_of("aa").strangers() == [0, 1] and batch_of("a").strangers() == [0]


@pytest.mark.parametrize(("width", "height"), [(848, 256), (640, 480), (100, 100), (60, 120)])
def test_the_protocols_view_is_in_the_middle_of_any_image(width, height):
    row = np.linspace(0, 255, width, dtype=np.uint8)
    view = np.asarray(protocol_view(Image.fromarray(np.repeat(row[None, :, None], height, 0).repeat(3, 2))))
    assert view.shape == (128, 256, 3)
    crop = min(2 * height * 370 / 375, width)
    half = 255 * crop / width / 2
    assert view[64, 0, 0] == pytest.approx(127.5 - half, abs=3) and view[64, -1, 0] == pytest.approx(
        127.5 + half, abs=3
    )


def test_the_held_out_batch_is_spread_evenly_and_bounded():
    image = Image.new("RGB", (40, 20))
    pairs = [Pair("a", str(n), image, image, str(n), ()) for n in range(1000)]
    assert held_out_batch(pairs[:23]).captions == ["0", "5", "10", "15", "20"]
    assert held_out_batch(pairs).captions == [str(n) for n in range(0, 1000, 25)]
    assert foreign_batch(pairs, 4).captions == ["0", "250", "500", "750"]
    assert foreign_batch(pairs[:2], 4).captions == ["0", "0", "1", "1"]


def test_mirroring_swaps_the_words_too():
    assert mirrored_caption("a car on the left of a tree") == "a car on the right of a tree"
