"""Image messages to H x W x 3 uint8 RGB arrays, and arrays to messages.

Encodings and file formats of `mdic_ros.datasets.images` are converted there, as those of files and bags are. Every
other encoding (Bayer, YUV, 16 bit ...) goes through cv_bridge where it is installed and works. cv_bridge is not asked
for the common ones because it computes the row length as step / channels rounded down and so shears images whose rows
are padded to, say, four bytes.
"""

from __future__ import annotations

import array
import importlib.util
import subprocess
import sys
from functools import cache
from typing import Any

import numpy as np

from mdic_ros.datasets.images import ENCODINGS, RGB, from_compressed_message, from_image_message
from mdic_ros.errors import ImageError


def message_to_rgb(message: Any) -> RGB:
    """`sensor_msgs/Image` to H x W x 3 uint8 RGB; alpha is dropped, grey is repeated, row padding removed.

    Raises:
        ImageError: unknown encoding, or sizes that do not agree with each other or with the data.
    """
    if message.encoding not in ENCODINGS:
        return _through_cv_bridge(message)
    return from_image_message(message, "image")


def compressed_to_rgb(message: Any) -> RGB:
    """`sensor_msgs/CompressedImage` that holds a JPEG, PNG or WebP file to H x W x 3 uint8 RGB, upright.

    Raises:
        ImageError: no image file, damaged, too large, or deeper than 8 bits.
    """
    return from_compressed_message(message, "compressed image")


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


def _through_cv_bridge(message: Any) -> RGB:
    if not cv_bridge_works():
        raise ImageError(
            f"encoding '{message.encoding}' is none of {', '.join(ENCODINGS)}, and cv_bridge, which "
            "knows more of them, is not installed or does not work here; install it, or convert with image_proc"
        )
    if min(message.height, message.width, message.step) < 1 or message.height * message.step > len(message.data):
        raise ImageError(
            f"{len(message.data)} bytes with step {message.step} do not hold "
            f"{message.height}x{message.width} pixels of {message.encoding}"
        )
    from cv_bridge import CvBridge

    try:
        image = np.asarray(CvBridge().imgmsg_to_cv2(message, "rgb8"))
    except Exception as error:  # CvBridgeError, cv2.error, TypeError, KeyError ...
        raise ImageError(f"cv_bridge cannot turn '{message.encoding}' into rgb8: {error}") from error
    if image.shape != (message.height, message.width, 3) or image.dtype != np.uint8:
        raise ImageError(f"cv_bridge cannot turn '{message.encoding}' into rgb8")
    return np.ascontiguousarray(image)


_PROBE = """
import numpy, sensor_msgs.msg, cv_bridge
m = sensor_msgs.msg.Image(height=1, width=1, step=3, encoding="bgr8", data=bytes((1, 2, 3)))
assert numpy.asarray(cv_bridge.CvBridge().imgmsg_to_cv2(m, "rgb8")).tolist() == [[[3, 2, 1]]]
"""


@cache
def cv_bridge_works() -> bool:
    """Whether cv_bridge can be used. Tried once, in a process of its own, and only where it is installed.

    The cv_bridge of a ROS distribution is compiled against numpy 1 and ends the process with a segmentation fault
    when it is imported beside the numpy 2 of a virtual environment.
    """
    if importlib.util.find_spec("cv_bridge") is None:
        return False
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return probe.returncode == 0
