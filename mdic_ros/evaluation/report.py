"""A report as Markdown and JSON, and the folder with all of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from PIL import Image

from mdic_ros.evaluation.page import page
from mdic_ros.evaluation.plots import curves, draw
from mdic_ros.evaluation.results import slug, unique_slug
from mdic_ros.evaluation.run import Evaluation
from mdic_ros.evaluation.tables import Table, label, plural, tables
from mdic_ros.evaluation.verdict import verdict


def markdown(report: dict[str, Any]) -> str:
    """The verdict and all tables of a report, and how to repeat it."""
    parts = [f"# {headline(report)}", summary(report), " ".join(verdict(report))]
    for table in tables(report):
        first, items = "".join(table.notes[:1]), "\n".join(f"- {note}" for note in table.notes[1:])
        parts += [f"## {table.title}", first, items, _markdown_table(table)]
    provenance = report["provenance"]
    versions = ", ".join(f"{name} {version}" for name, version in provenance["versions"].items())
    machine = ", ".join(f"{name}: {value}" for name, value in provenance["machine"].items())
    parts += ["## To repeat it", f"    {provenance['command']}", f"{provenance['date']}. {machine}. {versions}."]
    return "\n\n".join(part for part in parts if part) + "\n"


def headline(report: dict[str, Any]) -> str:
    """What was evaluated."""
    return f"{report['bundle']['model_id']} {report['bundle']['fingerprint'][:8]}"


def summary(report: dict[str, Any]) -> str:
    """On what, in a line."""
    images = f"{plural(report['images'], 'image')} of {plural(len(report['drives']), 'drive')}"
    sizes, steps = ", ".join(report["sizes"]), ", ".join(map(str, report["steps"]))
    seen = report["least_seen"]
    cropped = f" The protocol crops: of some images only {100 * seen:.0f} % is evaluated." if seen < 0.5 else ""
    return f"{images}, protocol {report['protocol']}, coded at {sizes} (height x width), steps {steps}.{cropped}"


def _markdown_table(table: Table) -> str:
    def line(cells: Any) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = ["---" if n < table.numbers else "---:" for n in range(len(table.head))]
    return "\n".join([line(table.head), "|" + "|".join(rule) + "|", *(line(row) for row in table.rows)])


def write(evaluation: Evaluation, folder: Path) -> None:
    """Writes report.json, report.md, index.html, plots/*.png and sheets/*.png into a folder.

    The JSON is strict: what is infinite or not a number is null.
    """
    report = evaluation.report
    drawn: dict[str, tuple[bytes, bytes]] = {}
    for metric in report["metrics"]:
        shown = curves(report, metric["name"])
        if metric["name"] == "MS-SSIM" or not any(curve.kind == "ours" for curve in shown):
            continue
        title = label(metric["name"]) + ", lower is better" * metric["lower_is_better"]
        drawn[metric["name"]] = draw(title, shown), draw(title, shown, dark=True)
    for name, (light, _) in drawn.items():
        _put(folder / "plots" / f"{slug(name)}.png", light)
    for sheet in evaluation.sheets:
        path = folder / "sheets" / f"{unique_slug(sheet.image)}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sheet.drawn()).save(path, optimize=True)
    _put(folder / "report.json", (json.dumps(_finite(report), indent=1, allow_nan=False) + "\n").encode())
    _put(folder / "report.md", markdown(report).encode())
    html = page(headline(report), summary(report), verdict(report), report, tables(report), drawn, evaluation.sheets)
    _put(folder / "index.html", html.encode())


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
