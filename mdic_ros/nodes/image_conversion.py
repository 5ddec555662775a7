"""Arrays to image messages. The other direction is `mdic_ros.datasets.images`, for nodes and bags alike."""

from __future__ import annotations

import array
from typing import Any

import numpy as np


def fill_image(message: Any, image: np.ndarray, encoding: str) -> None:
    """Put an H x W x 3 uint8 RGB array (`rgb8`) or an H x W uint8 array (`mono8`) into a `sensor_msgs/Image`.

    The header is the caller's. `array.frombytes` of a contiguous array takes 0.2 ms for a 375x1242 image;
    assigning bytes takes 2 ms, or 98 ms with the field checks of ROS 2 Humble, and assigning the array itself
    98 ms.
    """
    message.height, message.width = image.shape[:2]
    message.encoding = encoding
    message.is_bigendian = 0
    message.step = message.width * (image.shape[2] if image.ndim == 3 else 1)
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(image).data)
    message.data = data
