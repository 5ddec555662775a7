"""Which camera is coded, and when the encoder says that it does not know."""

from types import SimpleNamespace

from mdic_ros.nodes.coded_camera import PATIENCE_S, CodedCamera


def info(p0: float = 0.0, p3: float = 0.0) -> SimpleNamespace:
    return SimpleNamespace(p=[p0, 0, 64, p3, 0, p0, 32, 0, 0, 0, 1, 0])


def test_a_camera_info_that_comes_after_the_first_images_makes_no_warning() -> None:
    camera = CodedCamera()
    assert camera.choose("auto", info(), 100.0) is None
    assert camera.choose("auto", info(), 100.0 + PATIENCE_S / 2) is None
    assert (camera.view, camera.doubt) == ("left", "")
    news = camera.choose("auto", info(700.0, -300.0), 100.0 + PATIENCE_S)
    assert news is not None and news.severity == "info" and "right" in news.text
    assert (camera.view, camera.doubt) == ("right", "")


def test_one_that_does_not_come_is_warned_of_once() -> None:
    camera = CodedCamera()
    assert camera.choose("auto", info(), 7.0) is None
    news = camera.choose("auto", info(), 7.0 + PATIENCE_S)
    assert news is not None and news.severity == "warning"
    assert news.text == (
        "which camera this is is unknown (no camera_info with a P so far): coding it as the left one; "
        "set `view` if it is the right one."
    )
    assert (camera.view, camera.doubt) == ("left", news.text)
    assert camera.choose("auto", info(), 60.0) is None
    assert camera.doubt  # the diagnostics go on saying so
    news = camera.choose("left", info(), 61.0)
    assert news is not None and news.severity == "info"
    assert camera.doubt == ""


def test_a_camera_info_that_contradicts_itself_is_warned_of_at_once() -> None:
    camera = CodedCamera()
    news = camera.choose("auto", info(700.0, 45.0), 0.0)
    assert news is not None and news.severity == "warning" and "P[3] of camera_info is 45" in news.text
    assert camera.choose("auto", info(700.0, 45.0), 0.1) is None and camera.doubt
