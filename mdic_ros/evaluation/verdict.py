"""A report in a few sentences: quality and bytes of this codec, and the bytes that others need for the same quality."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

_SHARPNESS = "gradient energy, picture / original"

Result = Mapping[str, Any]  #: with mean "bytes" and "figures", see `results.summarise`


def verdict(report: Mapping[str, Any]) -> list[str]:
    """Sentences for the head of a report, made from its figures."""
    steps = min(report["steps"])
    ours = sorted((r for r in report["results"] if r["steps"] == steps), key=lambda r: float(r["bytes"]))
    if not ours:
        return []
    shown = ", ".join(f"{r['figures']['PSNR']:.2f} dB at {r['bytes']:.0f} bytes" for r in ours)
    name = report["bundle"]["model_id"]
    sentences = [f"{name} in {steps} step{'s' * (steps != 1)}, with the side image: PSNR {shown} an image."]
    for point in dict.fromkeys((len(ours) // 2, len(ours) - 1)):
        sentences.append(_against(ours[point], report["anchors"]))
    sentences.append(_fewest(ours[0], report["anchors"]))
    sentences.append(_side(ours, report))
    sentences.append(_sharpness(report))
    return [sentence for sentence in sentences if sentence]


def _against(ours: Result, anchors: Sequence[Mapping[str, Any]]) -> str:
    """What the best codec that sees the coded view alone needs for the same PSNR."""
    quality = ours["figures"]["PSNR"]
    needs: dict[str, float] = {}
    tried = False
    for anchor in anchors:
        points = [r for r in anchor["results"] if r["bytes"]]
        if anchor["sees_both"] or not points:
            continue
        tried = True
        if (count := bytes_for(points, quality)) is not None:
            needs[anchor["name"]] = count
    if not tried:
        return ""
    head = f"For the {quality:.2f} dB that ours has at {ours['bytes']:.0f} bytes, "
    if not needs:
        return head + "no setting of the conventional codecs that were measured is good enough."
    best = min(needs, key=needs.__getitem__)
    times = needs[best] / ours["bytes"]
    compared = (
        f"{times:.1f} times as many" if times >= 1 else f"{100 * (1 - times):.0f} % less, so it is the better choice"
    )
    return head + f"the best conventional codec, {best}, needs {needs[best]:.0f} bytes: {compared}."


def bytes_for(points: Sequence[Result], quality: float) -> float | None:
    """The fewest bytes at which a codec's curve reaches a PSNR in dB.

    Linear in the bytes' logarithm between neighbours; the fewest bytes of all where every setting is good enough; None
    where none is.
    """
    curve = sorted((float(r["bytes"]), float(r["figures"]["PSNR"])) for r in points)
    if curve[0][1] >= quality:
        return curve[0][0]
    for (fewer, low), (more, high) in pairwise(curve):
        if low < quality <= high:
            return math.exp(float(np.interp(quality, (low, high), (math.log(fewer), math.log(more)))))
    return None


def _fewest(ours: Result, anchors: Sequence[Mapping[str, Any]]) -> str:
    least = {a["name"]: min(r["bytes"] for r in a["results"] if r["bytes"]) for a in anchors if _competes(a)}
    if not least:
        return "No conventional codec was measured beside it."
    name = min(least, key=least.__getitem__)
    if least[name] <= ours["bytes"]:
        return ""
    return (
        f"No conventional codec writes an image in fewer than {least[name]:.0f} bytes ({name}); "
        f"ours does in {ours['bytes']:.0f}."
    )


def _competes(anchor: Mapping[str, Any]) -> bool:
    return not anchor["sees_both"] and any(r["bytes"] for r in anchor["results"])


def _side(ours: Sequence[Result], report: Mapping[str, Any]) -> str:
    """PSNR without the side image, and PSNR of the side image in place of the picture."""
    middle = ours[len(ours) // 2]
    parts = []
    for ablation in report["ablations"]:
        for r in ablation["results"] if ablation["name"] == "no side image" else ():
            if r["setting"] == middle["setting"]:
                quality = r["figures"]["PSNR"]
                parts.append(f"without the side image the {middle['bytes']:.0f} bytes give {quality:.2f} dB")
    if math.isfinite(report["side_psnr"]):  # two cameras that see exactly the same have no difference to measure
        parts.append(f"the side image by itself, for no bytes, has {report['side_psnr']:.2f} dB")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _sharpness(report: Mapping[str, Any]) -> str:
    """Gradient energy at the middle rate point, by steps."""
    settings = list(dict.fromkeys(r["setting"] for r in report["results"]))
    point = settings[len(settings) // 2]
    found = [
        f"{r['figures'][_SHARPNESS]:.2f} in {r['steps']} step{'s' * (r['steps'] != 1)}"
        for r in report["results"]
        if r["setting"] == point and _SHARPNESS in r["figures"]
    ]
    if len(found) < 2:
        return ""
    return f"Sharpness at rate point {point} (1 is as sharp as the original): {', '.join(found)}."
