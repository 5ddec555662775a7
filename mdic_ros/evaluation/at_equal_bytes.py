"""Conventional codecs at our bytes and at twice our bytes, read off their curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

#: The metrics that are compared: distortion, and those of realism that need no pretrained network.
METRICS = ("PSNR", "MS-SSIM dB", "SWD x 1000", "gradient distance", "spectrum distance")
FACTORS = (1, 2)  #: times our bytes

Result = Mapping[str, Any]  #: with mean "bytes" and "figures", see `results.summarise`


def at_equal_bytes(results: Sequence[Result], anchors: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Compares each result of ours with each anchor at `FACTORS` times the same bytes.

    Args:
        results: of this codec.
        anchors: name, sees_both and results of each; those that send nothing are left out.

    Returns:
        One entry per result: "steps", "setting", "bytes" and "figures" of ours, and "anchors": name, sees_both, fewest
        bytes, and for each factor the interpolated figures, without those beyond the range of the anchor's settings.
    """
    found = []
    for ours in results:
        theirs = []
        for anchor in anchors:
            points = sorted((r for r in anchor["results"] if r["bytes"] > 0), key=lambda r: float(r["bytes"]))
            if points:
                at = [
                    {
                        metric: value
                        for metric in METRICS
                        if (value := _at(points, metric, n * ours["bytes"])) is not None
                    }
                    for n in FACTORS
                ]
                fewest = points[0]["bytes"]
                theirs.append({"name": anchor["name"], "sees_both": anchor["sees_both"], "fewest": fewest, "at": at})
        figures = {metric: ours["figures"][metric] for metric in METRICS if metric in ours["figures"]}
        found.append(
            {**{name: ours[name] for name in ("steps", "setting", "bytes")}, "figures": figures, "anchors": theirs}
        )
    return found


def _at(points: Sequence[Result], metric: str, count: float) -> float | None:
    """A figure at `count` bytes, interpolated linearly over their logarithm; None outside the range of the points."""
    curve = [(r["bytes"], r["figures"][metric]) for r in points if math.isfinite(r["figures"].get(metric, math.nan))]
    if not curve or not curve[0][0] <= count <= curve[-1][0]:
        return None
    rates, values = zip(*curve)
    return float(np.interp(math.log(count), np.log(rates), values))
