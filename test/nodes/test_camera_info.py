import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run through `make test`")

from std_msgs.msg import Header

from mdic_ros.datasets.calibration import CameraInfo as Calibration
from mdic_ros.nodes.camera_info import to_message

pytestmark = pytest.mark.ros


def test_a_calibration_survives_the_way_through_a_message(camera_info):
    calibration = Calibration.from_message(camera_info())
    assert calibration is not None
    message = to_message(calibration, Header(frame_id="left"))
    assert message.header.frame_id == "left"
    assert calibration.same_as(Calibration.from_message(message))


def test_region_of_interest_and_binning_are_worked_in(camera_info):
    calibration = Calibration.from_message(camera_info(binning=2, roi=(100, 40, 400, 200)))
    assert calibration is not None
    message = to_message(calibration.scaled(50, 100), Header())
    assert (message.height, message.width, message.binning_x, message.roi.width) == (50, 100, 0, 0)
    point = np.array([0.1, 0.05, 1.0])
    x, y, w = np.reshape(camera_info().k, (3, 3)) @ point
    found = np.reshape(message.k, (3, 3)) @ point
    expected = (x / w - 100 + 0.5) / 4 - 0.5, (y / w - 40 + 0.5) / 4 - 0.5
    np.testing.assert_allclose(found[:2] / found[2], expected)
