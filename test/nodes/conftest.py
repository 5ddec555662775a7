"""Fixtures for the node tests. Messages of the tests without ROS are anything with the right fields."""

from types import SimpleNamespace

import numpy as np
import pytest


def _image_message(pixels: np.ndarray, form: str, padding: int = 0, **changes: object) -> SimpleNamespace:
    """A `sensor_msgs/Image` with `padding` bytes of rubbish at the end of every row."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    padded = np.hstack([rows, np.full((height, padding), 0xAB, np.uint8)])
    fields = {
        "height": height,
        "width": width,
        "encoding": form,
        "is_bigendian": 0,
        "step": padded.shape[1],
        "data": padded.tobytes(),
    }
    return SimpleNamespace(**{**fields, **changes})


def _camera_info(
    height: int = 480, width: int = 640, binning: int = 0, roi: tuple[int, int, int, int] = (0, 0, 0, 0)
) -> SimpleNamespace:
    """A `sensor_msgs/CameraInfo`; `roi` is x_offset, y_offset, width, height."""
    return SimpleNamespace(
        height=height,
        width=width,
        distortion_model="plumb_bob",
        d=[0.1, -0.05, 0.0, 0.0, 0.0],
        k=np.array([500.0, 0, 319.5, 0, 510.0, 239.5, 0, 0, 1]),
        r=np.eye(3).ravel(),
        p=np.array([500.0, 0, 319.5, -60.0, 0, 510.0, 239.5, 0, 0, 0, 1, 0]),
        binning_x=binning,
        binning_y=binning,
        roi=SimpleNamespace(x_offset=roi[0], y_offset=roi[1], width=roi[2], height=roi[3], do_rectify=False),
    )


@pytest.fixture(scope="session")
def image_message():
    return _image_message


@pytest.fixture(scope="session")
def camera_info():
    return _camera_info
