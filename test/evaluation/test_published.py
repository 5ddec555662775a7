"""The paper's curves: plausible as data, and never without their caveat."""

import json
import math
from importlib.resources import files

import pytest

from mdic_ros.evaluation.published import BITS_PER_NAT, CAVEAT, published


@pytest.mark.parametrize("protocol", ["kitti", "cityscapes"])
def test_the_papers_own_curve_is_whole_and_comes_first(protocol: str) -> None:
    report = published(protocol)
    mdic = report["curves"][0]
    assert mdic["name"] == "MDIC" and len(mdic["results"]) >= 5
    assert all(len(point["figures"]) == 8 for point in mdic["results"])
    for metric in ("PSNR", "MS-SSIM dB", "mIoU"):
        values = [point["figures"][metric] for point in mdic["results"]]
        assert values == sorted(values)
    for metric in ("LPIPS (VGG16)", "DISTS", "FID", "KID", "NIQE"):
        values = [point["figures"][metric] for point in mdic["results"]]
        assert values == sorted(values, reverse=True)
    assert report["caveat"] == CAVEAT


@pytest.mark.parametrize("protocol", ["kitti", "cityscapes"])
def test_rates_rise_and_bytes_are_those_of_128x256(protocol: str) -> None:
    curves = published(protocol)["curves"]
    assert len({curve["name"] for curve in curves}) == len(curves) == 11
    for curve in curves:
        rates = [result["bpp"] for result in curve["results"]]
        assert rates == sorted(rates) and len(rates) >= 2
        assert all(result["figures"] for result in curve["results"])
        assert all(result["bytes"] == result["bpp"] * 128 * 256 / 8 for result in curve["results"])


def test_every_column_has_a_value_or_a_gap_for_every_rate() -> None:
    data = json.loads((files("mdic_ros.evaluation") / "published.json").read_text(encoding="utf-8"))
    for curve in (curve for curves in data["curves"].values() for curve in curves):
        assert {len(values) for values in curve["figures"].values()} == {len(curve["bpp"])}, curve["codec"]


def test_hidden_markers_are_missing_not_made_up() -> None:
    ldmic = next(c for c in published("kitti")["curves"] if c["name"] == "LDMIC")
    assert "PSNR" in ldmic["results"][0]["figures"] and "PSNR" not in ldmic["results"][1]["figures"]


def test_caveat_says_published_and_nats() -> None:
    assert CAVEAT.startswith("Published, not measured: digitised")
    assert "790 pairs of KITTI stereo" in CAVEAT and "bilinearly: about 0.5 dB easier" in CAVEAT
    assert f"{1 / math.log(2):.4f}" in CAVEAT and pytest.approx(1.4427, abs=1e-4) == BITS_PER_NAT


def test_other_sizes_have_no_published_curves() -> None:
    assert published("256x512") == {"curves": [], "caveat": ""}
