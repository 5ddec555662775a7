"""Bjontegaard's deltas: one rate-distortion curve against another, as one number with the range that it speaks for.

G. Bjontegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33, 2001; with piecewise cubic
Hermite interpolation, as in the JVET common test conditions, since polynomials through few points overshoot. A delta is
a mean over what both curves cover and says nothing about the rest, so the overlap is part of the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import bjontegaard

Curve = Sequence[tuple[float, float]]  #: points of rate (any unit, the same for both curves) and quality (dB)

MIN_POINTS = 3


@dataclass(frozen=True)
class Delta:
    """The mean difference of two curves over their overlap.

    Attributes:
        value: percent of rate, or dB; None where there is none.
        curve_share, anchor_share: which share of each curve's range the overlap is, 0..1: in dB for a difference in
            rate, in log rate for a difference in quality.
        reason: why there is no value, else empty.
    """

    value: float | None
    curve_share: float
    anchor_share: float
    reason: str = ""

    @property
    def overlap(self) -> str:
        """The overlap in words, or the reason why there is no value."""
        return self.reason or f"{100 * self.curve_share:.0f} % of ours, {100 * self.anchor_share:.0f} % of its range"


def bd_rate(curve: Curve, anchor: Curve) -> Delta:
    """How much more rate (%) ``curve`` takes than ``anchor`` for equal quality; negative is better.

    Points that are no better than a cheaper one of the same curve are left out, as rate is no function of quality
    there; so are points of no rate.
    """
    return _delta(curve, anchor, of_rate=True)


def bd_psnr(curve: Curve, anchor: Curve) -> Delta:
    """How much more quality (dB, be it of PSNR or of MS-SSIM) ``curve`` has at equal rate; positive is better.

    Takes the same points as :func:`bd_rate`.
    """
    return _delta(curve, anchor, of_rate=False)


def _delta(curve: Curve, anchor: Curve, of_rate: bool) -> Delta:
    ours, theirs = _rising(curve), _rising(anchor)
    for points, whose in ((ours, "this curve"), (theirs, "the anchor")):
        if len(points) < MIN_POINTS:
            return Delta(None, 0.0, 0.0, f"{whose} has {len(points)} usable points of at least {MIN_POINTS}")
    (our_rates, our_qualities), (their_rates, their_qualities) = zip(*ours), zip(*theirs)
    mine, other = [
        (qualities[0], qualities[-1]) if of_rate else (math.log(rates[0]), math.log(rates[-1]))
        for rates, qualities in ((our_rates, our_qualities), (their_rates, their_qualities))
    ]
    common = min(mine[1], other[1]) - max(mine[0], other[0])
    if common <= 0:
        what = "quality" if of_rate else "rate"
        return Delta(None, 0.0, 0.0, f"no {what} in common")
    function = bjontegaard.bd_rate if of_rate else bjontegaard.bd_psnr
    value = function(
        their_rates,
        their_qualities,
        our_rates,
        our_qualities,
        method="pchip",
        require_matching_points=False,
        min_overlap=0,  # it would only warn; the overlap is in the result
    )
    return Delta(float(value), common / (mine[1] - mine[0]), common / (other[1] - other[0]))


def _rising(curve: Curve) -> list[tuple[float, float]]:
    """The points by rate, without those that are no better than a cheaper one."""
    points: list[tuple[float, float]] = []
    for rate, quality in sorted(curve, key=lambda point: (point[0], -point[1])):
        if rate > 0 and math.isfinite(quality) and (not points or (rate > points[-1][0] and quality > points[-1][1])):
            points.append((rate, quality))
    return points
