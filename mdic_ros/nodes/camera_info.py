"""Calibrations as `sensor_msgs/CameraInfo` messages."""

from __future__ import annotations

from typing import Any

from sensor_msgs.msg import CameraInfo

from mdic_ros.datasets.calibration import CameraInfo as Calibration


def to_message(calibration: Calibration, header: Any) -> CameraInfo:
    """The message for a calibration; its own numbers, no region of interest, no binning."""
    return CameraInfo(
        header=header,
        height=calibration.height,
        width=calibration.width,
        distortion_model=calibration.distortion_model,
        d=list(calibration.d),
        k=calibration.k.ravel(),
        r=calibration.r.ravel(),
        p=calibration.p.ravel(),
    )
