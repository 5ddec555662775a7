"""StreamInfo from the network: anybody may have sent it."""

import math
from types import SimpleNamespace

import pytest

from mdic_ros.stream.reports import StreamInfoError, age_ms, calibration_problem, read_stream_info


def camera_info(**changes):
    fields = {"distortion_model": "plumb_bob", "d": [0.0] * 5, "k": [1.0] * 9, "r": [1.0] * 9, "p": [1.0] * 12}
    return SimpleNamespace(**{**fields, **changes})


def message(**changes):
    fields = {
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
    assert info.facts() == {name: value for name, value in vars(message()).items() if name != "camera_info"}


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
        ("p", [math.nan] * 12),
    ],
)
def test_a_calibration_is_checked_before_it_is_used(field, value):
    assert calibration_problem(camera_info(**{field: value})) == field
    with pytest.raises(StreamInfoError, match=rf"camera_info\.{field} is out of range"):
        read_stream_info(message(camera_info=camera_info(**{field: value})), pytest.fail)


def test_a_good_calibration_has_no_problem():
    assert calibration_problem(camera_info()) == ""


def test_the_age_of_another_clock_says_nothing():
    assert age_ms(2_000_000_000, 1_999_000_000) == 1.0
    assert math.isnan(age_ms(0, 1))
    assert math.isnan(age_ms(4000 * 10**9, 0))
