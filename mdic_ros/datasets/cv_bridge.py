"""Encodings that only cv_bridge knows (Bayer, YUV, 16 bit ...), where it is installed and works: on a ROS host.

cv_bridge is not asked for the encodings in `images.ENCODINGS` because it computes the row length as step / channels
rounded down and so shears images whose rows are padded to, say, four bytes.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdic_ros.errors import ImageError


def through_cv_bridge(message: Any, name: str) -> NDArray[np.uint8]:
    """`sensor_msgs/Image` of any encoding that cv_bridge knows to H x W x 3 uint8 RGB.

    Raises:
        ImageError: sizes that do not agree with the data, or an encoding that it does not know.
    """
    if min(message.height, message.width, message.step) < 1 or message.height * message.step > len(message.data):
        raise ImageError(
            f"{name}: {len(message.data)} bytes with step {message.step} do not hold "
            f"{message.height}x{message.width} pixels of {message.encoding}"
        )
    from cv_bridge import CvBridge

    try:
        image = np.asarray(CvBridge().imgmsg_to_cv2(message, "rgb8"))
    except Exception as error:  # CvBridgeError, cv2.error, TypeError, KeyError ...
        raise ImageError(f"{name}: cv_bridge cannot turn '{message.encoding}' into rgb8: {error}") from error
    if image.shape != (message.height, message.width, 3) or image.dtype != np.uint8:
        raise ImageError(f"{name}: cv_bridge cannot turn '{message.encoding}' into rgb8")
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
