"""StreamInfo from the network: anybody may have sent it."""

import math
from types import SimpleNamespace

import pytest

from mdic_ros.stream.reports import StreamInfoError, age_ms, calibration_problem, read_stream_info


def header(frame_id="left_optical"):
    return SimpleNamespace(frame_id=frame_id)


def camera_info(**changes):
    numbers = {"d": [0.0] * 5, "k": [1.0] * 9, "r": [1.0] * 9, "p": [1.0] * 12}
    fields = {"header": header(), "distortion_model": "plumb_bob", **numbers}
    return SimpleNamespace(**{**fields, **changes})


def message(**changes):
    fields = {
        "header": header(),
        "height": 375,
        "width": 1242,
        "coded_height": 128,
        "coded_width": 416,
        "encoding": "bgr8",
        "model_id": "mdic_tiny",
        "fingerprint": "ab" * 32,
        "stream_version": 1,
        "rate_points": 5,
        "camera_info": camera_info(),
    }
    return SimpleNamespace(**{**fields, **changes})


def test_a_good_one_is_taken_as_it_is():
    info = read_stream_info(message(), lambda calibration: calibration.k[0])
    assert info.calibration == 1.0
    assert info.facts() == {name: value for name, value in vars(message()).items() if name in info.facts()}
    assert len(info.facts()) == 9


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("coded_height", 5000),
        ("coded_width", 1),
        ("encoding", "x" * 65),
        ("encoding", "rgb8\n"),
        ("model_id", "two words"),
        ("fingerprint", "AB" * 32),
        ("stream_version", 16),
        ("rate_points", 0),
    ],
)
def test_texts_and_numbers_are_bounded(field, value):
    with pytest.raises(StreamInfoError, match=f"its {field} is out of range"):
        read_stream_info(message(**{field: value}), lambda _: None)


def test_the_frame_is_a_name_not_a_book():
    with pytest.raises(StreamInfoError, match=r"its header\.frame_id is out of range"):
        read_stream_info(message(header=header("x" * 1_000_000)), lambda _: None)


def test_the_source_size_is_bounded():
    with pytest.raises(StreamInfoError, match="its source size"):
        read_stream_info(message(height=0), lambda _: None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("distortion_model", "x" * 65),
        ("d", [0.0] * 33),
        ("d", [math.nan]),
        ("k", [math.inf] * 9),
        ("k", [1e305] * 9),
        ("d", [-2e9]),
        ("header", header("x" * 257)),
        ("p", [math.nan] * 12),
    ],
)
def test_a_calibration_is_checked_before_it_is_used(field, value):
    problem = calibration_problem(camera_info(**{field: value}))
    assert problem == {"header": "header.frame_id"}.get(field, field)
    with pytest.raises(StreamInfoError, match=rf"camera_info\.{problem} is out of range"):
        read_stream_info(message(camera_info=camera_info(**{field: value})), pytest.fail)


def test_a_good_calibration_has_no_problem():
    assert calibration_problem(camera_info()) == ""


def test_the_age_of_another_clock_says_nothing():
    assert age_ms(2_000_000_000, 1_999_000_000) == 1.0
    assert math.isnan(age_ms(0, 1))
    assert math.isnan(age_ms(4000 * 10**9, 0))
