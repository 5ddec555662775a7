from types import SimpleNamespace

import pytest

from mdic_ros.datasets.calibration import view_of


@pytest.mark.parametrize(
    "p0, p3, view, certain",
    [
        (700.0, -339.5, "right", True),
        (700.0, 0.0, "left", True),
        (700.0, 44.9, "left", False),  # KITTI's P2 as it stands in the file, OAK-D
        (0.0, 0.0, "left", False),  # an empty P: depthai
        (0.0, -20.0, "left", False),
        (700.0, float("nan"), "left", False),
    ],
)
def test_the_camera_on_the_right_has_a_negative_baseline(p0, p3, view, certain):
    found = view_of(SimpleNamespace(p=[p0, 0, 64, p3, 0, p0, 32, 0, 0, 0, 1, 0]))
    assert (found.view, found.certain) == (view, certain)
    if not certain:
        assert "set the parameter view" in found.why


def test_one_camera_above_the_other():
    found = view_of(SimpleNamespace(p=[700.0, 0, 64, 0, 0, 700.0, 32, -70.0, 0, 0, 1, 0]))
    assert not found.certain
    assert "one above the other" in found.why
