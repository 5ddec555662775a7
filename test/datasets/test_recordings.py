"""Finding the recordings below a folder."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mdic_ros.datasets import DatasetError, find_recordings, open_stereo, write_bag


def test_recordings_of_all_kinds_at_any_depth(
    kitti_raw: Path, kitti_odometry: Path, folder: Path, tmp_path: Path
) -> None:
    root = tmp_path / "all"
    shutil.copytree(folder, root / "a" / "deep" / "one")
    shutil.copytree(folder, root / ".trash" / "old")
    with open_stereo(folder) as recording:
        write_bag(recording, root / "b_bag")
    shutil.copytree(kitti_raw, root / "day")
    shutil.copytree(kitti_odometry, root / "odometry")
    wanted = [
        root / "a" / "deep" / "one",
        root / "b_bag",
        root / "day" / "2011_09_26_drive_0005_sync",
        root / "odometry" / "sequences" / "07",
    ]
    for use in ("train", "test"):
        assert find_recordings(root, use) == wanted  # type: ignore[arg-type]
    assert find_recordings(wanted[0], "train") == [wanted[0]]


def test_the_testing_split_is_for_testing_alone(kitti_2015: Path, tmp_path: Path) -> None:
    root = tmp_path / "kitti"
    for split in ("training", "testing"):
        shutil.copytree(kitti_2015 / "training", root / split)
    assert find_recordings(root, "test") == [root / "testing"]
    assert find_recordings(root, "train") == [root / "training"]
    assert find_recordings(root / "testing", "train") == [root / "testing"]  # named by the user
    shutil.rmtree(root / "testing")
    assert find_recordings(root, "test") == [root / "training"]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file or folder"):
        find_recordings(tmp_path / "absent", "train")
    with pytest.raises(DatasetError, match="Looked for"):
        find_recordings(tmp_path, "test")


def test_a_folder_that_may_not_be_read_is_named(folder: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    closed = folder.parent / "closed"
    closed.mkdir(0)
    try:
        with pytest.raises(DatasetError, match="cannot read"):
            find_recordings(folder.parent, "train")
    finally:
        closed.chmod(0o755)


def test_frames_of_a_bag_load_in_several_threads(folder: Path, tmp_path: Path) -> None:
    with open_stereo(folder) as source:
        write_bag(source, tmp_path / "bag")
    with open_stereo(tmp_path / "bag") as bag, open_stereo(folder) as files, ThreadPoolExecutor(8) as pool:
        indices = list(range(len(bag))) * 10
        for index, left in zip(indices, pool.map(lambda i: bag[i].left, indices), strict=True):
            assert np.array_equal(left, files[index].left)
