"""Anchors read off their curves at our bytes."""

import math

import pytest

from mdic_ros.evaluation.at_equal_bytes import at_equal_bytes


def result(steps: int, count: float, **figures: float) -> dict:
    return {"steps": steps, "setting": "0", "bytes": count, "figures": figures}


def anchor(*points: tuple[float, float]) -> dict:
    return {"name": "JPEG", "sees_both": False, "results": [result(0, count, PSNR=psnr) for count, psnr in points]}


def test_between_settings_it_is_linear_in_the_logarithm() -> None:
    copied = {"name": "copy", "sees_both": False, "results": [result(0, 0, PSNR=10.0)]}
    ours = [result(steps, 100, PSNR=20.0) for steps in (1, 2, 4)]
    found = at_equal_bytes(ours, [copied, anchor((400, 26.0), (50, 20.0), (800, math.inf))])
    assert [entry["steps"] for entry in found] == [1, 2, 4]
    (jpeg,) = found[0]["anchors"]
    assert jpeg["fewest"] == 50 and found[0]["figures"] == {"PSNR": 20.0}
    assert [at["PSNR"] for at in jpeg["at"]] == pytest.approx([22.0, 24.0])  # 2 dB each time the bytes double


def test_beyond_its_settings_it_has_no_figure() -> None:
    ours = [result(1, 100, PSNR=20.0), result(1, 300, PSNR=22.0)]
    few, many = at_equal_bytes(ours, [anchor((150, 20.0), (500, 24.0))])
    assert [list(at) for at in few["anchors"][0]["at"]] == [[], ["PSNR"]]
    assert [list(at) for at in many["anchors"][0]["at"]] == [["PSNR"], []]
