from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mdic_ros.datasets import DatasetError, open_stereo
from mdic_ros.datasets.bag_writer import BagWriter
from mdic_ros.datasets.images import RGB
from mdic_ros.datasets.messages import make_header, make_image
from mdic_ros.errors import ImageError

SECOND = 1_000_000_000


def test_broken_image_in_a_bag(tmp_path: Path, compressed: Any) -> None:
    with BagWriter(tmp_path / "b") as writer:
        for index in range(3):
            for side in ("left", "right"):
                data = b"broken" if (index, side) == (1, "left") else None
                writer.write(f"/s/{side}/image_raw/compressed", compressed(index * SECOND, data), index * SECOND)
    with open_stereo(tmp_path / "b") as source:
        assert source.left.topic == "/s/left/image_raw"
        assert source[2].left.shape == (20, 30, 3)
        with pytest.raises(ImageError, match=r"/s/left/image_raw/compressed at 1\.0"):
            _ = source[1].left


def test_images_recorded_at_the_same_time_are_told_apart(tmp_path: Path) -> None:
    pictures: list[RGB] = [np.full((4, 6, 3), value, np.uint8) for value in (10, 20)]
    with BagWriter(tmp_path / "b") as writer:
        for index, picture in enumerate(pictures):
            for side in ("left", "right"):
                message = make_image(make_header(index * SECOND, side), picture)
                writer.write(f"/{side}/image", message, 7 * SECOND)
    with open_stereo(tmp_path / "b") as source:
        assert [int(f.right[0, 0, 0]) for f in source] == [10, 20]


def test_pairs_by_nearest_stamp(tmp_path: Path, write_pairs: Any) -> None:
    ms = 1_000_000
    write_pairs(tmp_path / "b", [0, 100 * ms, 200 * ms, 300 * ms], [1 * ms, 99 * ms, 260 * ms, 310 * ms])
    with open_stereo(tmp_path / "b") as source:
        assert [(f.stamp_ns // ms, f.right_stamp_ns // ms) for f in source] == [(0, 1), (100, 99), (300, 310)]
        assert source.unpaired == (1, 1)
    with pytest.raises(DatasetError, match="one clock"):
        write_pairs(tmp_path / "c", [0], [SECOND])
        open_stereo(tmp_path / "c")
