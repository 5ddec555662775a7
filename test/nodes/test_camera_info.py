import numpy as np
import pytest

from mdic_ros.nodes.camera_info import for_image, is_known, same_calibration, view_of


def project(info, point):
    x, y, w = np.reshape(info.k, (3, 3)) @ np.asarray(point)
    return np.array([x / w, y / w])


@pytest.mark.parametrize("height, width", [(240, 320), (96, 320), (480, 640), (960, 1280)])
def test_a_point_lands_where_the_resized_pixel_is(camera_info, height, width):
    info = camera_info()
    scaled = for_image(info, height, width)
    x, y = project(info, (0.2, -0.1, 1.0))
    expected = (x + 0.5) * width / 640 - 0.5, (y + 0.5) * height / 480 - 0.5
    np.testing.assert_allclose(project(scaled, (0.2, -0.1, 1.0)), expected)
    assert (scaled.height, scaled.width) == (height, width)
    assert list(scaled.d) == list(info.d)
    assert info.height == 480  # the argument is left alone


def test_the_camera_on_the_right_has_a_negative_baseline(camera_info):
    info = camera_info()
    for column, view in ((0.0, "left"), (44.9, "left"), (-339.5, "right"), (float("nan"), "left")):  # KITTI's P2, P3
        info.p[3] = column
        assert view_of(info) == view


def test_the_baseline_keeps_its_length(camera_info):
    info = camera_info()
    scaled = for_image(info, 120, 160)
    p, q = np.reshape(info.p, (3, 4)), np.reshape(scaled.p, (3, 4))
    assert -q[0, 3] / q[0, 0] == pytest.approx(-p[0, 3] / p[0, 0])
    np.testing.assert_allclose(q[2], [0, 0, 1, 0])


def test_region_of_interest_and_binning_are_worked_in(camera_info):
    info = camera_info(binning=2, roi=(100, 40, 400, 200))  # the image has 200 x 100 pixels
    plain = for_image(info, 100, 200)
    x, y = project(info, (0.1, 0.05, 1.0))
    expected = (x - 100 + 0.5) / 2 - 0.5, (y - 40 + 0.5) / 2 - 0.5
    np.testing.assert_allclose(project(plain, (0.1, 0.05, 1.0)), expected)
    assert (plain.binning_x, plain.roi.width, plain.roi.x_offset) == (0, 0, 0)


def test_known_and_same(camera_info):
    info = camera_info()
    assert is_known(info)
    assert same_calibration(info, camera_info())
    assert not same_calibration(info, camera_info(width=641))
    other = camera_info()
    other.p[3] = 0.0
    assert not same_calibration(info, other)
    other = camera_info()
    other.k[:] = 0
    assert not is_known(other)
