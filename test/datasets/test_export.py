from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mdic_ros.datasets import DatasetError, open_stereo, write_bag
from mdic_ros.datasets.bag import BagReader
from mdic_ros.datasets.images import encode_image
from mdic_ros.datasets.messages import CAMERA_INFO, IMAGE, stamp_ns


def test_images_and_infos_of_a_written_bag(kitti_raw: Path, tmp_path: Path) -> None:
    source = open_stereo(kitti_raw)
    seen: list[int] = []
    result = write_bag(source, tmp_path / "b", progress=seen.append)
    assert (result.frames, result.broken, seen) == (4, [], [1, 2, 3, 4])
    with BagReader(tmp_path / "b") as reader:
        topics = reader.topics
        assert {name: (t.msgtype, t.count) for name, t in topics.items()} == {
            f"/kitti/camera_color_{side}/{name}": (msgtype, 4)
            for side in ("left", "right")
            for name, msgtype in (("image_raw", IMAGE), ("camera_info", CAMERA_INFO))
        }
        first = next(iter(reader.messages(["/kitti/camera_color_right/image_raw"])))
        image = reader.decode(first)
        assert (image.encoding, image.header.frame_id) == ("bgr8", "camera_color_right")
        assert stamp_ns(image.header) == first.time_ns == source[0].right_stamp_ns
        info = reader.decode(next(iter(reader.messages(["/kitti/camera_color_right/camera_info"]))))
        assert info.distortion_model == "plumb_bob"
        np.testing.assert_array_equal(info.d, np.zeros(5))
        assert stamp_ns(info.header) == source[0].right_stamp_ns
        times = [m.time_ns for m in reader.messages()]
        assert times == sorted(times)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("images", ["raw", "png", "jpeg"])
def test_bag_reads_back_as_the_recording_it_was(kitti_raw: Path, tmp_path: Path, storage: Any, images: Any) -> None:
    source = open_stereo(kitti_raw)
    write_bag(source, tmp_path / "b", storage=storage, images=images)
    with open_stereo(tmp_path / "b") as bag:
        assert (bag.layout, len(bag)) == ("bag", 4)
        assert bag.left.topic == source.left.topic
        assert bag.right.frame_id == source.right.frame_id
        assert bag.right_info is not None
        assert bag.right_info.same_as(source.right_info)
        for frame, original in zip(bag, source, strict=True):
            assert (frame.stamp_ns, frame.right_stamp_ns) == (original.stamp_ns, original.right_stamp_ns)
            difference = np.abs(frame.right.astype(int) - original.right).mean()
            assert difference < 2 if images == "jpeg" else difference == 0


def test_png_files_travel_byte_by_byte(kitti_raw: Path, tmp_path: Path) -> None:
    write_bag(open_stereo(kitti_raw), tmp_path / "b", images="png")
    with BagReader(tmp_path / "b") as reader:
        message = next(iter(reader.messages(["/kitti/camera_color_left/image_raw/compressed"])))
        assert bytes(reader.decode(message).data) == next(kitti_raw.rglob("image_02/data/*00.png")).read_bytes()


def test_grey_stays_mono8(kitti_raw: Path, tmp_path: Path) -> None:
    write_bag(open_stereo(kitti_raw, cameras="gray"), tmp_path / "b")
    with open_stereo(tmp_path / "b") as bag:
        assert bag.left.encoding == "mono8"
        assert bag.left.topic == "/kitti/camera_gray_left/image_raw"


def test_one_broken_image_is_reported_and_the_rest_goes_on(kitti_raw: Path, tmp_path: Path) -> None:
    path = next(kitti_raw.rglob("image_03/data/0000000002.png"))
    path.write_bytes(path.read_bytes()[:100])
    result = write_bag(open_stereo(kitti_raw), tmp_path / "b")
    assert result.frames == 3
    (sentence,) = result.broken
    assert "0000000002" in sentence
    assert str(path) in sentence
    with open_stereo(tmp_path / "b") as bag:
        assert len(bag) == 3


def test_sizes_of_a_pair_must_agree(folder: Path, tmp_path: Path) -> None:
    encoded = encode_image(np.zeros((75, 240, 3), np.uint8), "png")
    (folder / "right" / "000.png").write_bytes(encoded)
    result = write_bag(open_stereo(folder), tmp_path / "b")
    assert result.frames == 2
    assert "75x248 and 75x240" in result.broken[0]
    assert str(folder / "right" / "000.png") in result.broken[0]


def test_all_broken_leaves_no_bag(folder: Path, tmp_path: Path) -> None:
    for path in (folder / "left").iterdir():
        path.write_bytes(b"x")
    with pytest.raises(DatasetError, match="not one frame"):
        write_bag(open_stereo(folder), tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_files_that_exif_turns_are_written_upright(folder: Path, tmp_path: Path) -> None:
    """Not every reader of a CompressedImage turns it, and camera_info is for the upright picture."""
    for side in ("left", "right"):
        for name in ("001.jpg", "002.webp"):
            (folder / side / name).unlink()
        picture = Image.open(folder / side / "000.png").rotate(90, expand=True)
        exif = Image.Exif()
        exif[0x0112] = 6
        picture.save(folder / side / "000.png", exif=exif)
    upright = open_stereo(folder)[0].left
    assert upright.shape == (75, 248, 3)
    assert write_bag(open_stereo(folder), tmp_path / "b", images="png").frames == 1
    with BagReader(tmp_path / "b") as reader:
        data = bytes(reader.decode(next(iter(reader.messages()))).data)
    stored = Image.open(io.BytesIO(data))
    assert 0x0112 not in stored.getexif()
    np.testing.assert_array_equal(np.asarray(stored), upright)


def test_a_jpeg_under_a_png_name_is_no_png(folder: Path, tmp_path: Path) -> None:
    for side in ("left", "right"):
        shutil.copy(folder / side / "001.jpg", folder / side / "000.png")
    write_bag(open_stereo(folder), tmp_path / "b", images="png")
    with BagReader(tmp_path / "b") as reader:
        for message in reader.messages():
            assert bytes(reader.decode(message).data).startswith(b"\x89PNG")


def test_images_without_partner_are_counted(folder: Path, tmp_path: Path) -> None:
    (folder / "right" / "001.jpg").unlink()
    result = write_bag(open_stereo(folder), tmp_path / "b")
    assert (result.frames, result.unpaired) == (2, (1, 0))


def test_all_frames_of_a_bag_without_stamps_are_kept(tmp_path: Path, write_pairs: Any) -> None:
    recorded = [10**18 + i * 10**8 for i in range(5)]
    write_pairs(tmp_path / "a", [0] * 5, [0] * 5, recorded)
    with open_stereo(tmp_path / "a") as source:
        result = write_bag(source, tmp_path / "b")
    assert (result.frames, result.unpaired.total) == (5, 0)
    with open_stereo(tmp_path / "b") as source:
        assert [frame.stamp_ns for frame in source] == recorded
        assert [int(frame.left[0, 0, 0]) for frame in source] == list(range(5))
