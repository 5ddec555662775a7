"""Calibration of a decoded image whose size differs from the source's."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Literal

import numpy as np


def is_known(info: Any) -> bool:
    """Whether a `sensor_msgs/CameraInfo` says anything; REP 104: K[0] is 0 for an uncalibrated camera."""
    return float(info.k[0]) != 0.0


def view_of(info: Any) -> Literal["left", "right"]:
    """Which camera of a horizontal stereo pair a `sensor_msgs/CameraInfo` is of; left when it does not say.

    P[3] is -fx times the way from the first camera of the pair to this one, so below 0 for the one on the right.
    """
    return "right" if info.p[3] < 0 else "left"


def same_calibration(one: Any, other: Any) -> bool:
    """Whether two `sensor_msgs/CameraInfo` agree in everything but their headers."""
    fields = ("height", "width", "distortion_model", "binning_x", "binning_y", "roi")
    return all(getattr(one, name) == getattr(other, name) for name in fields) and all(
        list(getattr(one, name)) == list(getattr(other, name)) for name in "dkrp"
    )


def for_image(info: Any, height: int, width: int) -> Any:
    """A copy of `info` that describes its camera's image after a resize to `height` x `width` pixels.

    Region of interest and binning, which `info` gives relative to the full sensor (REP 104), are worked into
    K and P, so that the result is the plain calibration of the image as it lies there. A resize maps pixel
    areas onto pixel areas: with pixel centres at whole numbers a centre moves as x' = (x + 0.5) * s - 0.5.
    D does not change.
    """
    info = deepcopy(info)
    region = info.roi
    has_region = region.width > 0 and region.height > 0
    full_height, full_width = (region.height, region.width) if has_region else (info.height, info.width)
    if not full_height or not full_width:  # a driver that leaves the size out means the image's own
        full_height, full_width = height, width
    left, top = (region.x_offset, region.y_offset) if has_region else (0, 0)
    scale_x, scale_y = width / full_width, height / full_height
    scale = np.array([[scale_x, 0, (0.5 - left) * scale_x - 0.5], [0, scale_y, (0.5 - top) * scale_y - 0.5], [0, 0, 1]])
    info.k = (scale @ np.reshape(info.k, (3, 3))).ravel()
    info.p = (scale @ np.reshape(info.p, (3, 4))).ravel()
    info.height, info.width = height, width
    info.binning_x = info.binning_y = 0
    region.x_offset = region.y_offset = region.height = region.width = 0
    region.do_rectify = False
    return info
