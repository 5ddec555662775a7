"""Stereo recordings: KITTI raw, odometry, stereo 2012/2015, Cityscapes, folders and bags, one interface for all.

    from mdic_ros.datasets import open_stereo

    with open_stereo("2011_09_26/2011_09_26_drive_0005_sync") as source:
        for frame in source:
            frame.left, frame.right, frame.stamp_ns, frame.left_info

:mod:`mdic_ros.datasets.bag` reads and writes bags without ROS, with this package's own messages in them.
"""

from .calibration import CameraInfo
from .detect import LAYOUTS, Layout, detect_layout, open_stereo
from .errors import DatasetError, ImageError
from .export import Written, write_bag
from .stereo import Camera, StereoFrame, StereoSource

__all__ = [
    "LAYOUTS",
    "Camera",
    "CameraInfo",
    "DatasetError",
    "ImageError",
    "Layout",
    "StereoFrame",
    "StereoSource",
    "Written",
    "detect_layout",
    "open_stereo",
    "write_bag",
]
