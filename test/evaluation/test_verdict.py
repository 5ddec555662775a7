"""The sentences at the head of a report: they say what its figures say."""

from __future__ import annotations

from typing import Any

import pytest

from mdic_ros.evaluation.verdict import bytes_for, verdict


def result(count: float, psnr: float, setting: str = "0", steps: int = 1, **figures: float) -> dict[str, Any]:
    return {"bytes": count, "setting": setting, "steps": steps, "figures": {"PSNR": psnr, **figures}}


def anchor(name: str, *results: dict[str, Any], sees_both: bool = False) -> dict[str, Any]:
    return {"name": name, "sees_both": sees_both, "results": list(results)}


@pytest.fixture
def report() -> dict[str, Any]:
    ours = [result(14, 21.0, "0"), result(119, 23.0, "1"), result(357, 24.8, "2")]
    sharp = {"gradient energy, picture / original": 0.7}
    for r in ours:
        r["figures"]["gradient energy, picture / original"] = 0.5
    return {
        "bundle": {"model_id": "mdic_tiny"},
        "steps": [1, 4],
        "results": [*ours, *(result(r["bytes"], 20.0, r["setting"], 4, **sharp) for r in ours)],
        "side_psnr": 15.8,
        "anchors": [
            anchor("side image copied", result(0, 15.8)),
            anchor("JPEG", result(794, 20.5)),
            anchor("x265 intra", result(400, 22.0), result(800, 24.0)),
            anchor("SVT-AV1 intra", result(161, 19.9), result(1000, 23.5)),
            anchor("x265 joint", result(67, 24.1), sees_both=True),
        ],
        "ablations": [{"name": "no side image", "results": [result(119, 17.1, "1")]}],
    }


def test_what_it_says(report: dict[str, Any]) -> None:
    assert verdict(report) == [
        "mdic_tiny in 1 step, with the side image: PSNR 21.00 dB at 14 bytes, 23.00 dB at 119 bytes, 24.80 dB at 357 "
        "bytes an image.",
        "For the 23.00 dB that ours has at 119 bytes, the best conventional codec, x265 intra, needs 566 bytes: "
        "4.8 times as many.",
        "For the 24.80 dB that ours has at 357 bytes, no setting of the conventional codecs that were measured is good "
        "enough.",
        "No conventional codec writes an image in fewer than 161 bytes (SVT-AV1 intra); ours does in 14.",
        "Without the side image the 119 bytes give 17.10 dB; the side image by itself, for no bytes, has 15.80 dB.",
        "Sharpness at rate point 1 (1 is as sharp as the original): 0.50 in 1 step, 0.70 in 4 steps.",
    ]


def test_a_better_codec_is_named(report: dict[str, Any]) -> None:
    report["anchors"][2] = anchor("x265 intra", result(60, 23.5), result(300, 25.0))
    assert "x265 intra, needs 60 bytes: 50 % less, so it is the better choice." in " ".join(verdict(report))


def test_without_codecs_and_ablations(report: dict[str, Any]) -> None:
    report["anchors"], report["ablations"], report["steps"] = [], [], [1]
    report["results"] = report["results"][:3]
    assert verdict(report)[1:] == [
        "No conventional codec was measured beside it.",
        "The side image by itself, for no bytes, has 15.80 dB.",
    ]
    report["side_psnr"] = float("inf")
    assert verdict(report)[1:] == ["No conventional codec was measured beside it."]


def test_bytes_for_a_quality() -> None:
    points = [result(100, 20.0), result(400, 22.0)]
    assert bytes_for(points, 21.0) == pytest.approx(200)  # halfway, in the logarithm
    assert bytes_for(points, 19.0) == 100
    assert bytes_for(points, 22.5) is None
