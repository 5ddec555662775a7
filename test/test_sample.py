"""The sample that ships: a whole bag, a true stereo pair, small; and the first pair of it as pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mdic_ros.codec.images import resize_image
from mdic_ros.datasets import StereoSource, open_stereo
from mdic_ros.datasets.bag import BagReader
from mdic_ros.datasets.images import read_image
from mdic_ros.datasets.messages import stamp_ns

SAMPLE = Path(__file__).parents[1] / "sample" / "street"
FRAMES, PERIOD_NS = 40, 100_000_000
BASELINE = 0.54
MAX_DISPARITY = 48


@pytest.fixture(scope="module")
def drive() -> Iterator[StereoSource]:
    with open_stereo(SAMPLE) as source:
        yield source


def test_it_is_small() -> None:
    assert sum(p.stat().st_size for p in SAMPLE.rglob("*") if p.is_file()) < 15e6
    assert (SAMPLE.parent / "street.jpg").stat().st_size < 200e3


def test_topics_and_stamps() -> None:
    with BagReader(SAMPLE) as bag:
        assert {name: (t.msgtype.rpartition("/")[2], t.count) for name, t in bag.topics.items()} == {
            f"/stereo/{side}/{topic}": (kind, FRAMES)
            for side in ("left", "right")
            for topic, kind in (("image_raw/compressed", "CompressedImage"), ("camera_info", "CameraInfo"))
        }
        stamps: dict[str, list[int]] = {name: [] for name in bag.topics}
        for message in bag.messages():
            decoded = bag.decode(message)
            assert decoded.header.frame_id == f"stereo_{message.topic.split('/')[2]}_optical"
            assert stamp_ns(decoded.header) == message.time_ns
            if message.topic.endswith("compressed"):
                assert decoded.format == "jpeg"
            stamps[message.topic].append(message.time_ns)
    first = stamps["/stereo/left/camera_info"][0]
    for times in stamps.values():
        assert times == [first + i * PERIOD_NS for i in range(FRAMES)]


def test_frames(drive: StereoSource) -> None:
    assert drive.layout == "bag"
    assert len(drive) == FRAMES
    for frame in drive:
        assert frame.stamp_ns == frame.right_stamp_ns
        for image in (frame.left, frame.right):
            assert image.shape == (256, 512, 3)
            assert image.std() > 25  # a picture, not a blank


def test_calibration(drive: StereoSource) -> None:
    left, right = drive.left_info, drive.right_info
    assert left is not None and right is not None
    for info in (left, right):
        assert (info.height, info.width) == (256, 512)
        assert not np.any(info.d)
        np.testing.assert_array_equal(info.r, np.eye(3))
        np.testing.assert_array_equal(info.k, info.p[:, :3])
        np.testing.assert_allclose(info.k[:2, 2], (255.5, 127.5))
    np.testing.assert_array_equal(left.k, right.k)
    np.testing.assert_array_equal(left.p[:, 3], 0)
    np.testing.assert_allclose(right.p[:, 3], (-left.p[0, 0] * BASELINE, 0, 0))


def grey(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return image.astype(np.float32).mean(axis=2)


def textured_blocks(left: NDArray[np.float32], size: int = 16) -> Iterator[tuple[int, int]]:
    """Corners of the blocks with both upright and level edges, far enough from the border to search for."""
    for y in range(size, 256 - 2 * size, size):
        for x in range(MAX_DISPARITY + size, 512 - MAX_DISPARITY - 2 * size, size):
            block = left[y : y + size, x : x + size]
            if np.abs(np.diff(block, axis=0)).mean() > 8 and np.abs(np.diff(block, axis=1)).mean() > 8:
                yield y, x


def cost(left: NDArray[np.float32], right: NDArray[np.float32], y: int, x: int, dy: int, dx: int) -> float:
    size = 16
    a, b = left[y : y + size, x : x + size], right[y + dy : y + dy + size, x + dx : x + dx + size]
    return float(np.abs(a - b).mean())


@pytest.mark.parametrize("index", [0, 13, 26, 39])
def test_it_is_a_rectified_stereo_pair(drive: StereoSource, index: int) -> None:
    frame = drive[index]
    left, right = grey(frame.left), grey(frame.right)
    blocks = list(textured_blocks(left))
    assert len(blocks) > 30
    blocks = blocks[:: len(blocks) // 30]
    same_row, same_side = 0, 0
    for y, x in blocks:
        ahead = min(cost(left, right, y, x, 0, -d) for d in range(MAX_DISPARITY))
        behind = min(cost(left, right, y, x, 0, d) for d in range(3, MAX_DISPARITY))
        off_row = min(cost(left, right, y, x, dy, -d) for dy in (-4, 4) for d in range(MAX_DISPARITY))
        same_row += ahead < off_row
        same_side += ahead < behind
    assert same_row / len(blocks) > 0.8  # what matches lies in the same row,
    assert same_side / len(blocks) > 0.8  # and further left in the right image


def test_captions(drive: StereoSource) -> None:
    rows = [json.loads(line) for line in (SAMPLE.parent / "street_captions.jsonl").read_text("utf8").splitlines()]
    assert [row["name"] for row in rows] == [f"{i:06d}" for i in range(len(drive))]
    for row in rows:
        assert set(row) == {"source", "name", "caption", "tags"}
        assert 5 <= len(row["caption"].split()) <= 30
        assert "street" in row["tags"]


def test_pictures_are_the_first_pair(drive: StereoSource) -> None:
    pictures = {side: SAMPLE.parent / f"{side}.png" for side in ("left", "right")}
    assert sum(path.stat().st_size for path in pictures.values()) < 200e3
    for side, image in (("left", drive[0].left), ("right", drive[0].right)):
        # JPEG decoders and resizing differ a little from version to version.
        difference = read_image(pictures[side]).astype(int) - resize_image(image, 128, 256)
        assert np.abs(difference).mean() < 1
