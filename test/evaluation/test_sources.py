"""Where evaluation takes its pairs from, on tiny folders in the real layouts."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mdic_ros.datasets import DatasetError, open_stereo, write_bag
from mdic_ros.errors import ImageError
from mdic_ros.evaluation.sources import AGES, default_protocol, read_pairs, share_of_each


def flat(value: int) -> np.ndarray:
    return np.full((8, 16, 3), value, np.uint8)


def save(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(flat(value)).save(path)


def drive(root: Path, count: int, *, gone: tuple[int, ...] = ()) -> Path:
    """left and right; the left image of frame n is all n, the right one n + 100."""
    for number in range(count):
        if number not in gone:
            save(root / "left" / f"{number:06}.png", number)
            save(root / "right" / f"{number:06}.png", number + 100)
    return root


def ages(pair) -> dict[int, int]:
    return {age: int(image[0, 0, 0]) for age, image in pair.stale.items()}


def test_a_drive_has_its_earlier_side_images(tmp_path: Path) -> None:
    pairs = list(read_pairs(drive(tmp_path / "street", 12)))
    assert [pair.frame for pair in pairs] == [f"{n:06}" for n in range(12)]
    assert {pair.drive for pair in pairs} == {"street"}
    assert (pairs[3].coded == 3).all() and (pairs[3].side == 103).all()
    assert ages(pairs[0]) == {} and ages(pairs[3]) == {1: 102} and ages(pairs[7]) == {1: 106, 5: 102}
    assert ages(pairs[11]) == {1: 110, 5: 106, 10: 101}
    assert set(ages(pairs[11])) == set(AGES)


def test_ages_count_moments_not_files(tmp_path: Path) -> None:
    pairs = {p.frame: p for p in read_pairs(drive(tmp_path, 9, gone=(3, 6)))}
    assert ages(pairs["000007"]) == {5: 102}
    assert ages(pairs["000008"]) == {1: 107}


def test_both_orders_swap_the_cameras_and_their_history(tmp_path: Path) -> None:
    pairs = list(read_pairs(drive(tmp_path, 3), both_orders=True))
    assert [p.frame for p in pairs[:2]] == ["000000", "000000-right"] and len(pairs) == 6
    last, swapped = pairs[-2:]
    np.testing.assert_array_equal(swapped.coded, last.side)  # not mirrored
    np.testing.assert_array_equal(swapped.side, last.coded)
    assert (last.view, swapped.view) == ("left", "right")
    assert ages(last) == {1: 101} and ages(swapped) == {1: 1}


def test_limit_is_per_recording_and_counts_moments(tmp_path: Path) -> None:
    for name in ("b", "a/deep"):
        drive(tmp_path / name, 4)
    pairs = list(read_pairs(tmp_path, limit=2, both_orders=True))
    assert [p.drive for p in pairs] == ["a/deep"] * 4 + ["b"] * 4


def test_pictures_that_are_not_numbered_have_no_history(tmp_path: Path) -> None:
    for name in ("000000_10", "000001_10"):
        save(tmp_path / "left" / f"{name}.png", 1)
        save(tmp_path / "right" / f"{name}.png", 2)
    assert [p.stale for p in read_pairs(tmp_path)] == [{}, {}]


def test_a_bag_is_a_drive(tmp_path: Path) -> None:
    with open_stereo(drive(tmp_path / "street", 3)) as source:
        write_bag(source, tmp_path / "bags" / "one")
    pairs = list(read_pairs(tmp_path / "bags" / "one"))
    assert len(pairs) == 3 and {p.drive for p in pairs} == {"one"}
    assert ages(pairs[2]) == {1: 101}
    mcap = next((tmp_path / "bags" / "one").glob("*.mcap"))
    assert len(list(read_pairs(mcap))) == 3


def test_the_size_of_the_images_chooses_the_protocol(tmp_path: Path) -> None:
    def pair(name: str, height: int, width: int) -> Path:
        for side in ("left", "right"):
            (tmp_path / name / side).mkdir(parents=True)
            Image.new("RGB", (width, height)).save(tmp_path / name / side / "0.png")
        return tmp_path / name

    assert default_protocol(pair("a", 375, 1242)) == "kitti"
    with open_stereo(tmp_path / "a") as source:
        write_bag(source, tmp_path / "b")
    assert default_protocol(tmp_path / "b") == "kitti" == default_protocol(tmp_path)
    for name, height, width in (("vga", 480, 640), ("zed", 720, 1280), ("sample", 256, 512)):
        assert default_protocol(pair(name, height, width)) == "whole"
    assert default_protocol(tmp_path) == "whole"  # some are not of KITTI's size
    assert [share_of_each(tmp_path / "vga", 8), share_of_each(tmp_path, 8), share_of_each(tmp_path, 3)] == [8, 2, 1]


def kitti_stereo(root: Path, split: str, left: str, right: str, scenes: int) -> Path:
    for scene in range(scenes):
        for frame in (10, 11):
            save(root / split / left / f"{scene:06}_{frame}.png", scene)
            save(root / split / right / f"{scene:06}_{frame}.png", scene + 100)
    return root


def test_kitti_stereo_is_frame_10_of_the_testing_scenes_of_both_years(tmp_path: Path) -> None:
    for split in ("training", "testing"):
        kitti_stereo(tmp_path / "2012", split, "colored_0", "colored_1", 2)
        kitti_stereo(tmp_path / "2015", split, "image_2", "image_3", 3)
    pairs = list(read_pairs(tmp_path, both_orders=True))
    assert [(p.drive, p.frame) for p in pairs[::2]] == [
        ("2012/testing/000000", "000000_10"), ("2012/testing/000001", "000001_10"),
        ("2015/testing/000000", "000000_10"), ("2015/testing/000001", "000001_10"),
        ("2015/testing/000002", "000002_10"),
    ]  # fmt: skip
    assert [p.frame.removeprefix(q.frame) for p, q in zip(pairs[1::2], pairs[::2])] == ["-right"] * 5
    assert all(p.stale == {} for p in pairs)
    assert [p.drive for p in read_pairs(tmp_path / "2015", limit=2)] == ["testing/000000", "testing/000001"]
    assert [p.drive for p in read_pairs(tmp_path / "2012" / "training")] == ["training/000000", "training/000001"]


def test_both_years_in_one_folder_is_an_error(tmp_path: Path) -> None:
    kitti_stereo(tmp_path, "testing", "colored_0", "colored_1", 1)
    kitti_stereo(tmp_path, "testing", "image_2", "image_3", 1)
    with pytest.raises(DatasetError, match=r"2012 .*2015"):
        list(read_pairs(tmp_path))


def test_kitti_raw_and_odometry_below_one_folder(tmp_path: Path) -> None:
    raw = tmp_path / "raw" / "2011_09_26" / "2011_09_26_drive_0005_sync"
    for camera in ("image_02", "image_03"):
        for number in range(2):
            save(raw / camera / "data" / f"{number:010}.png", number)
        (raw / camera / "timestamps.txt").write_text("2011-09-26 13:04:32.0\n2011-09-26 13:04:32.1\n")
    for name in ("00", "05"):
        sequence = tmp_path / "odometry" / "dataset" / "sequences" / name
        for camera in ("image_2", "image_3"):
            save(sequence / camera / "000000.png", 1)
        (sequence / "times.txt").write_text("0.0\n")
    assert default_protocol(tmp_path) == "whole"  # these images are tiny
    pairs = [(p.drive, p.frame, list(p.stale)) for p in read_pairs(tmp_path)]
    assert pairs == [
        ("odometry/dataset/sequences/00", "000000", []), ("odometry/dataset/sequences/05", "000000", []),
        ("raw/2011_09_26/2011_09_26_drive_0005_sync", "0000000000", []),
        ("raw/2011_09_26/2011_09_26_drive_0005_sync", "0000000001", [1]),
    ]  # fmt: skip


def test_cityscapes_is_its_test_split_and_cities_are_drives(tmp_path: Path) -> None:
    for split, city in (("train", "aachen"), ("test", "berlin"), ("test", "munich")):
        for number in (18, 19):
            for side in ("left", "right"):
                save(
                    tmp_path / f"{side}Img8bit" / split / city / f"{city}_000000_{number:06}_{side}Img8bit.png", number
                )
    pairs = list(read_pairs(tmp_path))
    berlin, munich = "leftImg8bit/test/berlin", "leftImg8bit/test/munich"
    assert [p.drive for p in pairs] == [berlin, berlin, munich, munich]
    assert [(p.drive, p.frame[-2:]) for p in read_pairs(tmp_path, limit=1)] == [(berlin, "18"), (munich, "18")]
    assert default_protocol(tmp_path) == "cityscapes"
    assert pairs[1].frame == "berlin_000000_000019" and all(p.stale == {} for p in pairs)


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file or folder"):
        list(read_pairs(tmp_path / "nowhere"))
    with pytest.raises(DatasetError, match="Looked for"):
        list(read_pairs(tmp_path))
    drive(tmp_path, 1)
    Image.fromarray(flat(1)[:, :8]).save(tmp_path / "right" / "000000.png")
    with pytest.raises(ImageError, match="different sizes"):
        list(read_pairs(tmp_path))
