"""Stereo recordings of every kind in `LAYOUTS`, with one interface for all.

    from mdic_ros.datasets import open_stereo

    with open_stereo("2011_09_26/2011_09_26_drive_0005_sync") as source:
        for frame in source:
            frame.left, frame.right, frame.stamp_ns, frame.left_info

`bag` and `bag_writer` read and write rosbag2 without ROS, with this package's own messages in them.
"""

from mdic_ros.datasets.bag_writer import Storage
from mdic_ros.datasets.calibration import CameraInfo
from mdic_ros.datasets.errors import DatasetError
from mdic_ros.datasets.export import Written, write_bag
from mdic_ros.datasets.files import Unpaired
from mdic_ros.datasets.registry import LAYOUTS, READERS, detect_layout, open_stereo
from mdic_ros.datasets.stereo import Camera, StereoFrame, StereoSource

__all__ = [
    "LAYOUTS",
    "READERS",
    "Camera",
    "CameraInfo",
    "DatasetError",
    "StereoFrame",
    "StereoSource",
    "Storage",
    "Unpaired",
    "Written",
    "detect_layout",
    "open_stereo",
    "write_bag",
]
