import numpy as np
import pytest

from mdic_ros.datasets.calibration import CameraInfo

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy", reason="rclpy is not installed")


def test_a_calibration_survives_the_message():
    from std_msgs.msg import Header

    from mdic_ros.nodes.camera_info import to_message

    turned = np.array([[0.9998, -0.02, 0], [0.02, 0.9998, 0], [0, 0, 1]])
    p = [[500.0, 0, 320, -60], [0, 510, 240, 0], [0, 0, 1, 0]]
    k = [[490.0, 0, 318, 0, 505, 239, 0, 0, 1]]
    info = CameraInfo(480, 640, np.reshape(k, (3, 3)), np.array(p), (0.1, -0.05, 0, 0), turned, "rational_polynomial")
    header = Header(frame_id="left_optical")
    message = to_message(info, header)
    assert message.header == header
    again = CameraInfo.from_message(message)
    assert again is not None
    assert again.same_as(info)
    assert (message.binning_x, message.roi.width) == (0, 0)
