"""The tables of a report, once for Markdown and HTML."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mdic_ros.evaluation.at_equal_bytes import METRICS

#: Shown in dB instead.
_NOT_SHOWN = ("MS-SSIM",)


@dataclass(frozen=True)
class Table:
    """A table: its title, what to know of it, and its cells. Columns from `numbers` on hold numbers."""

    name: str  #: short, for links
    title: str
    notes: Sequence[str]  #: a paragraph, and items of a list
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: int = 1


def label(metric: str) -> str:
    """Name of a metric with its unit."""
    return "PSNR dB" if metric == "PSNR" else metric


def plural(count: int, noun: str) -> str:
    """A count and its noun: "1 step", "2 steps"."""
    return f"{count} {noun}{'s' * (count != 1)}"


class _Digits:
    """How many digits a metric's column takes: two, of large values fewer, of small ones more."""

    def __init__(self, results: Iterable[Mapping[str, Any]]) -> None:
        self._largest: dict[str, float] = {}
        for result in results:
            for name, value in result["figures"].items():
                if value is not None and math.isfinite(value):
                    self._largest[name] = max(abs(value), self._largest.get(name, 0))

    def __call__(self, figures: Mapping[str, float], name: str, sign: str = "") -> str:
        """The figure of this name, "-" if there is none."""
        value, largest = figures.get(name), self._largest.get(name, 1)
        if value is None or math.isnan(value):
            return "-"
        digits = 0 if largest >= 1000 else 1 if largest >= 100 else 2 if largest >= 1 else 3
        return f"{round(value, digits) + 0.0:{sign}.{digits}f}"  # + 0.0: no -0.00


def _bytes(row: dict[str, Any]) -> str:
    return f"{row['bytes']:.0f} ({row['max_bytes']})"


def _shown(report: dict[str, Any], kinds: Sequence[str] = ("image", "set")) -> list[str]:
    return [m["name"] for m in report["metrics"] if m["kind"] in kinds and m["name"] not in _NOT_SHOWN]


def tables(report: dict[str, Any]) -> list[Table]:
    """All tables of a report that have something in them, in the order in which one wants to read them."""
    tables = [_headline(report), _ablations(report), _at_equal_bytes(report), _anchors(report), _bjontegaard(report)]
    tables += [_published(report), _metrics(report), _not_computed(report)]
    return [table for table in tables if table.rows]


def _figures(metrics: Sequence[str], results: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The cells of some metrics, a row for each result."""
    digits = _Digits(results)
    return [[digits(result["figures"], metric) for metric in metrics] for result in results]


def _headline(report: dict[str, Any]) -> Table:
    metrics, results = _shown(report), report["results"]
    rows = [
        [str(r["steps"]), r["setting"], _bytes(r), f"{r['bpp']:.4f}", *cells]
        for r, cells in zip(results, _figures(metrics, results))
    ]
    note = "Means over the images. Bytes are those of whole bitstreams (in brackets the largest), decoded from them."
    head = ["steps", "rate point", "bytes (max)", "bpp", *map(label, metrics)]
    return Table("results", "Results", [note], head, rows, 0)


def _ablations(report: dict[str, Any]) -> Table:
    metrics, ablations = _shown(report, ("image",)), report["ablations"]
    digits = _Digits(r for ablation in ablations for r in ablation["results"])
    rows = []
    for ablation in ablations:
        for r in ablation["results"]:
            cells = [f"{digits(r['figures'], m)} ({digits(r['difference'], m, '+')})" for m in metrics]
            rows.append([ablation["name"], r["setting"], str(r["images"]), f"{r['bytes']:.0f}", *cells])
    notes = [
        f"Decoded in {plural(min(report['steps']), 'step')}. In brackets the difference to the whole model, or to the "
        "variant that is named below, over the same images. What is left out should be missed: PSNR and MS-SSIM fall."
    ]
    for ablation in ablations:
        against = f" (compared with: {ablation['against']})" if ablation["against"] != "full" else ""
        notes.append(f"{ablation['name']}: {ablation['meaning']}{against}")
    notes += [f"{missing['name']}: not available, {missing['why']}" for missing in report["not_available"]]
    head = ["variant", "rate point", "images", "bytes", *map(label, metrics)]
    return Table("ablations", "What each part is worth", notes, head, rows)


def _at_equal_bytes(report: dict[str, Any]) -> Table:
    results, rows = report["at_equal_bytes"], []
    digits = _Digits([*results, *({"figures": at} for ours in results for a in ours["anchors"] for at in a["at"])])
    for ours in results if any(ours["anchors"] for ours in results) else ():
        point = [str(ours["steps"]), ours["setting"]]
        rows.append([*point, "ours", f"{ours['bytes']:.0f}", *(digits(ours["figures"], m) for m in METRICS)])
        for anchor in ours["anchors"]:
            cells = [" / ".join(digits(at, metric) for at in anchor["at"]) for metric in METRICS]
            name = anchor["name"] + " *" * anchor["sees_both"]
            rows.append([*point, name, f"from {anchor['fewest']:.0f}", *cells])
    note = (
        "Each codec at our bytes / at twice our bytes, interpolated between its settings in the bytes' logarithm. "
        "A dash where all its settings take more bytes (the bytes column says the fewest) or all take fewer. "
        "* sees both views: a bound, no competitor."
    )
    head = ["steps", "rate point", "codec", "bytes", *map(label, METRICS)]
    return Table("at_equal_bytes", "At equal bytes, and at twice ours", [note], head, rows, 3)


def _anchors(report: dict[str, Any]) -> Table:
    metrics, rows = _shown(report), []
    results = [(anchor, r) for anchor in report["anchors"] for r in anchor["results"]]
    for (anchor, r), cells in zip(results, _figures(metrics, [r for _, r in results])):
        name = anchor["name"] + " *" * anchor["sees_both"]
        rows.append([name, r["setting"], _bytes(r), f"{r['bpp']:.4f}", *cells])
    notes = [
        "The same images, decoded from their own bytes. * sees both views, which an encoder on the robot cannot: "
        "a bound, no competitor. The bytes that are counted:",
        *(f"{anchor['name']}: {anchor['bytes_counted']}" for anchor in report["anchors"]),
    ]
    head = ["codec", "setting", "bytes (max)", "bpp", *map(label, metrics)]
    return Table("anchors", "Conventional codecs", notes, head, rows)


def _bjontegaard(report: dict[str, Any]) -> Table:
    rows = [
        [
            bd["anchor"],
            bd["metric"],
            "-" if bd["rate"] is None else f"{bd['rate']:+.1f} %",
            bd["rate_overlap"],
            "-" if bd["quality"] is None else f"{bd['quality']:+.2f} dB",
            bd["quality_overlap"],
        ]
        for bd in report["bd"]
    ]
    note = (
        f"Bjontegaard's deltas of ours in {plural(min(report['steps']), 'step')} against each codec: BD-rate, bytes at "
        "equal quality (less is better); BD-PSNR, the metric's dB at equal bytes (more is better). Each speaks for "
        "the range that both curves cover."
    )
    head = ["against", "metric", "BD-rate", "over", "BD-PSNR", "over"]
    return Table("bd", "Against conventional codecs, over the curve", [note], head, rows, 6)


def _published(report: dict[str, Any]) -> Table:
    curves = report["published"]["curves"]
    results = [(curve["name"], r) for curve in curves for r in curve["results"]]
    metrics = list(dict.fromkeys(metric for _, r in results for metric in r["figures"]))
    cells = _figures(metrics, [r for _, r in results])
    rows = [[name, f"{r['bytes']:.0f}", f"{r['bpp']:.4f}", *row] for (name, r), row in zip(results, cells)]
    head = ["codec", "bytes", "bpp", *map(label, metrics)]
    return Table("published", "Published, not measured", [report["published"]["caveat"]], head, rows)


def _metrics(report: dict[str, Any]) -> Table:
    rows = [[m["name"], m["meaning"] + "; lower is better" * m["lower_is_better"]] for m in report["metrics"]]
    return Table("metrics", "What the figures mean", [], ["figure", "meaning"], rows, 2)


def _not_computed(report: dict[str, Any]) -> Table:
    rows = [[n["name"], n["why"]] for n in report["not_computed"]]
    note = "Put the files into a folder and name it: --weights FOLDER. The same command then adds what is missing."
    return Table("not_computed", "Not computed", [note], ["figure", "why, and what to do"], rows, 2)
