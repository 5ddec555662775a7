"""Fixtures for the node tests. Messages of the tests without ROS are anything with the right fields."""

import itertools
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))  # for ros_bench, which the tests with ROS share


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
def camera_info():
    return _camera_info


@pytest.fixture
def bench():
    """A `ros_bench.Bench` in a domain of its own."""
    from ros_bench import isolated_bench

    with isolated_bench() as bench:
        yield bench


@pytest.fixture(scope="session")
def textures():
    """`textures(height, width)`: endless left and right views of a moving scene of smooth spots."""

    def frames(height: int, width: int, seed: int = 0):
        rng = np.random.default_rng(seed)
        spots = Image.fromarray(rng.integers(0, 256, (12, 64, 3), np.uint8))
        scene = np.asarray(spots.resize((width * 5, height), Image.Resampling.BICUBIC))
        for index in itertools.count():
            start = 3 * index % (4 * width - 8)
            yield scene[:, start : start + width], scene[:, start + 8 : start + 8 + width]

    return frames
