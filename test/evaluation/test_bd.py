"""Bjontegaard deltas against cases that can be worked out by hand."""

import warnings

import pytest

from mdic_ros.evaluation.bd import bd_psnr, bd_rate

ANCHOR = [(100.0, 20.0), (200.0, 22.5), (400.0, 24.0), (800.0, 27.0)]


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0, 1.6])
def test_a_constant_factor_in_rate(factor: float) -> None:
    curve = [(rate * factor, quality) for rate, quality in ANCHOR]
    delta = bd_rate(curve, ANCHOR)
    assert delta.value == pytest.approx(100 * (factor - 1))
    assert (delta.curve_share, delta.anchor_share) == (1, 1)


def test_a_constant_gain_in_quality() -> None:
    delta = bd_psnr([(rate, quality + 0.7) for rate, quality in ANCHOR], ANCHOR)
    assert delta.value == pytest.approx(0.7)
    assert delta.overlap == "100 % of ours, 100 % of its range"


def test_straight_lines_over_half_their_range() -> None:
    """In log2 of the rate: ours is quality = x + 1 over 0..4, the anchor quality = x over 2..6."""
    ours = [(2.0**x, x + 1.0) for x in (0, 1, 2, 3, 4)]
    anchor = [(2.0**x, float(x)) for x in (2, 4, 5, 6)]
    quality = bd_psnr(ours, anchor)
    assert quality.value == pytest.approx(1)
    assert (quality.curve_share, quality.anchor_share) == (pytest.approx(0.5), pytest.approx(0.5))
    rate = bd_rate(ours, anchor)  # common: qualities 2..5 of 1..5 and of 2..6
    assert rate.value == pytest.approx(-50)
    assert (rate.curve_share, rate.anchor_share) == (pytest.approx(0.75), pytest.approx(0.75))


def test_no_overlap_is_no_number() -> None:
    better = [(rate, quality + 50) for rate, quality in ANCHOR]
    assert bd_rate(better, ANCHOR).value is None
    assert bd_rate(better, ANCHOR).overlap == "no quality in common"
    assert bd_psnr(better, ANCHOR).value == pytest.approx(50)
    dearer = [(rate * 100, quality) for rate, quality in ANCHOR]
    assert bd_psnr(dearer, ANCHOR).reason == "no rate in common"
    assert bd_rate(dearer, ANCHOR).value == pytest.approx(9900)


def test_too_few_points() -> None:
    assert "this curve has 2 usable points" in bd_rate(ANCHOR[:2], ANCHOR).reason
    assert "the anchor has 1 usable" in bd_psnr(ANCHOR, ANCHOR[:1]).reason
    assert bd_rate([], ANCHOR).value is None


def test_points_that_buy_nothing_are_left_out_in_any_order() -> None:
    spoilt = [(300.0, 21.0), (0.0, 5.0), *reversed(ANCHOR), (800.0, 26.0), (900.0, 27.0)]
    assert bd_rate(spoilt, ANCHOR).value == pytest.approx(0)
    assert bd_psnr(spoilt, ANCHOR).value == pytest.approx(0)
