"""Plots of a report: every metric against the rate."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from mdic_ros.evaluation.tables import plural

# Okabe and Ito's colours, which people with any colour vision can tell apart.
_OURS = "#0072B2"
_OTHERS = ("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#999999", "#6A3D9A")
#: Metrics whose published figures say something beside ours; those of sets depend on the set.
_PUBLISHED = ("PSNR", "MS-SSIM dB", "LPIPS (VGG16)", "DISTS")
_MARKERS = "sD^vP*Xh"


@dataclass(frozen=True)
class Curve:
    """Points of one method, from few to many bytes."""

    name: str
    bytes: Sequence[float]
    values: Sequence[float]
    kind: str  #: "ours", "ablation", "anchor", "bound" (sees both views) or "published"


def curves(report: dict[str, Any], metric: str) -> list[Curve]:
    """Everything that a report knows of a metric, against mean bytes. A method of no bytes is a single point at 0."""
    found = []
    groups = [
        (
            f"{report['bundle']['model_id']}, {plural(n, 'step')}",
            "ours",
            [r for r in report["results"] if r["steps"] == n],
        )
        for n in report["steps"]
    ]
    groups += [(a["name"], "ablation", a["results"]) for a in report["ablations"] if a["name"] == "no side image"]
    groups += [
        (f"{a['name']} (sees both)", "bound", a["results"]) if a["sees_both"] else (a["name"], "anchor", a["results"])
        for a in report["anchors"]
    ]
    groups += [
        (f"{c['name']}, published, not measured", "published", c["results"])
        for c in report["published"]["curves"]
        if c["name"] == "MDIC" and metric in _PUBLISHED  # one, or the plot is full
    ]
    for name, kind, results in groups:
        points = sorted((r["bytes"], r["figures"][metric]) for r in results if r["figures"].get(metric) is not None)
        if points:
            found.append(Curve(name, [x for x, _ in points], [y for _, y in points], kind))
    return found


def _style(kind: str, number: int, dark: bool) -> dict[str, Any]:
    """How the line of the so manieth curve of a kind looks."""
    ours = "#4FB3F0" if dark else _OURS
    if kind == "ours":
        shade = 1 - 0.22 * min(number, 3)
        return {"color": ours, "alpha": shade, "marker": "o^sD"[number % 4], "linewidth": 2.2, "zorder": 4}
    if kind == "ablation":
        return {"color": ours, "marker": "o", "markersize": 4, "linewidth": 1.6, "linestyle": ":"}
    if kind == "published":
        return {"color": "#888888", "marker": "x", "linewidth": 1.4, "linestyle": (0, (4, 3))}
    line = "--" if kind == "bound" else "-"
    color, marker = _OTHERS[number % len(_OTHERS)], _MARKERS[number % len(_MARKERS)]
    return {"color": color, "marker": marker, "markersize": 4, "linewidth": 1.3, "linestyle": line}


def draw(title: str, shown: Sequence[Curve], dark: bool = False) -> bytes:
    """A plot over bytes (logarithmic) as a PNG file's bytes, for light or dark pages."""
    ink, faint, paper = ("#d8dee9", "#4a5260", "#14171c") if dark else ("#222831", "#d5d9e0", "#ffffff")  # as page.html
    figure = Figure(figsize=(6.4, 5.2), dpi=130, layout="constrained", facecolor=paper)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.set_xscale("log")
    seen = Counter[str]()
    for curve in shown:
        kind = "other" if curve.kind in ("anchor", "bound") else curve.kind
        style = _style(curve.kind, seen[kind], dark)
        seen[kind] += 1
        if max(curve.bytes) == 0:
            axes.axhline(curve.values[0], color=style["color"], linewidth=1, linestyle="-.", label=curve.name)
        else:
            axes.plot(curve.bytes, curve.values, label=curve.name, **style)
    axes.set_title(title, color=ink, fontsize=11, loc="left")
    axes.set_xlabel("bytes per image", color=ink)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(color=faint, linewidth=0.6)
    axes.tick_params(colors=ink, which="both")
    for spine in axes.spines.values():
        spine.set_color(faint)
    figure.legend(loc="outside lower left", ncols=3, fontsize=8.5, frameon=False, labelcolor=ink)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
