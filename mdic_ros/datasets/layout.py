"""The names of the layouts of recordings. Apart from the readers, for `--help`: nothing heavy is imported."""

from __future__ import annotations

from typing import Literal, get_args

#: Name of a reader.
Layout = Literal["bag", "kitti_odometry", "kitti_stereo", "kitti_raw", "euroc", "cityscapes", "folder"]

#: All of them, in the order of `mdic_ros.datasets.registry.READERS`.
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
