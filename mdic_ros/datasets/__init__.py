"""Stereo recordings of every kind in `LAYOUTS`, with one interface for all.

    from mdic_ros.datasets import open_stereo

    with open_stereo("2011_09_26/2011_09_26_drive_0005_sync") as source:
        for frame in source:
            frame.left, frame.right, frame.stamp_ns, frame.left_info

`bag` and `bag_writer` read and write rosbag2 without ROS, with this package's own messages in them.

Names are imported when they are first used: most modules of this package need not load rosbags.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mdic_ros.datasets.bag_writer import Storage
    from mdic_ros.datasets.calibration import CameraInfo
    from mdic_ros.datasets.errors import DatasetError
    from mdic_ros.datasets.export import Written, write_bag
    from mdic_ros.datasets.files import Unpaired
    from mdic_ros.datasets.layout import LAYOUTS
    from mdic_ros.datasets.recordings import find_recordings
    from mdic_ros.datasets.registry import READERS, detect_layout, open_stereo
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
    "find_recordings",
    "open_stereo",
    "write_bag",
]

_SOURCES = {
    "mdic_ros.datasets.bag_writer": ("Storage",),
    "mdic_ros.datasets.calibration": ("CameraInfo",),
    "mdic_ros.datasets.errors": ("DatasetError",),
    "mdic_ros.datasets.export": ("Written", "write_bag"),
    "mdic_ros.datasets.files": ("Unpaired",),
    "mdic_ros.datasets.layout": ("LAYOUTS",),
    "mdic_ros.datasets.recordings": ("find_recordings",),
    "mdic_ros.datasets.registry": ("READERS", "detect_layout", "open_stereo"),
    "mdic_ros.datasets.stereo": ("Camera", "StereoFrame", "StereoSource"),
}
_MODULES = {name: module for module, names in _SOURCES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
