"""Writes the tables of reports into the README and the card of the shipped bundle, so that none is typed by hand.

    python tools/write_figures.py REPORT [REPORT ...]
    python tools/write_figures.py BENCH.json

Each REPORT is an output folder of `mdic eval`: the first in MDIC's protocol, the others at other sizes, of the same
drives or of others, or with `--both-orders`. BENCH.json is a file of `mdic bench --output`. What lies between
`<!-- NAME -->` and `<!-- /NAME -->` is replaced, in README.md, docs/figures.md, docs/performance.md and the model's
card:

    bench                what `mdic bench` prints, and its command

    short                our rate points in the fewest steps, and what the best codec needs for the same PSNR
    results STEPS SIZE   a row for each rate point, decoded in these numbers of steps (1,2); without STEPS in all
    codecs SIZE          conventional codecs at comparable bytes
    parts SIZE           what each part is worth
    sizes                a line for each of the other reports of the same drives, and number of steps
    views                a line for each camera of the report with `--both-orders`

SIZE is that of another report, as 256x512 or native; without it the first one is meant. Tables of a report that is not
given stay as they are.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

from mdic_ros.evaluation.bench_report import markdown
from mdic_ros.evaluation.metrics import decibel
from mdic_ros.evaluation.verdict import bytes_for

ROOT = Path(__file__).parent.parent
FILES = tuple(
    ROOT / name for name in ("README.md", "docs/figures.md", "docs/performance.md", "models/mdic_tiny/README.md")
)
HEAD = ["bytes (max)", "bpp", "PSNR dB", "MS-SSIM dB", "SWD x 1000", "gradient distance", "gradient energy"]
#: Of a codec, the setting of the fewest bytes is shown, and all others up to this multiple of our finest point's.
MOST_TIMES = 2.4


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def plural(steps: int) -> str:
    return f"{steps} step{'s' * (steps != 1)}"


def cells(result: dict[str, Any]) -> list[str]:
    f = result["figures"]
    return [
        f"{result['bytes']:.0f} ({result['max_bytes']})",
        f"{result['bpp']:.4f}",
        f"{f['PSNR']:.2f}",
        f"{f['MS-SSIM dB']:.2f}",
        f"{f['SWD x 1000']:.0f}",
        f"{f['gradient distance']:.1f}",
        f"{f['gradient energy, picture / original']:.2f}",
    ]


def results(report: dict[str, Any], steps: str) -> str:
    wanted = {int(n) for n in steps.split(",")} if steps else set(report["steps"])
    rows = [[plural(r["steps"]), r["setting"], *cells(r)] for r in report["results"] if r["steps"] in wanted]
    return table(["decoded in", "rate point", *HEAD], rows)


def short(report: dict[str, Any], _: str) -> str:
    rows = []
    for r in (r for r in report["results"] if r["steps"] == min(report["steps"])):
        needs = {
            anchor["name"].removesuffix(" intra"): count
            for anchor in report["anchors"]
            if not anchor["sees_both"] and (points := [p for p in anchor["results"] if p["bytes"]])
            if (count := bytes_for(points, r["figures"]["PSNR"])) is not None
        }
        best = min(needs, key=needs.__getitem__, default="")
        other = f"{needs[best]:.0f} ({best})" if best else "none reaches it"
        kbps = 8 * r["bytes"] * 10 / 1000
        rows.append([r["setting"], f"{r['bytes']:.0f}", f"{kbps:.1f}", f"{r['figures']['PSNR']:.1f} dB", other])
    head = ["rate point", "bytes a frame", "kbit/s at 10 Hz", "PSNR", "bytes of the best other codec for that"]
    return table(head, rows)


def codecs(report: dict[str, Any], _: str) -> str:
    rows = []
    most = MOST_TIMES * max(r["bytes"] for r in report["results"])
    for anchor in report["anchors"]:
        fewest = min(r["bytes"] for r in anchor["results"])
        shown = [r for r in anchor["results"] if r["bytes"] <= max(fewest, most)]
        rows += [[anchor["name"], r["setting"], *cells(r)] for r in shown]
    return table(["codec", "setting", *HEAD], rows)


def parts(report: dict[str, Any], _: str) -> str:
    rows = []
    for ablation in report["ablations"]:
        points = [
            f"{r['figures']['PSNR']:.2f} ({round(r['difference']['PSNR'], 2) + 0.0:+.2f})"  # the sum: no -0.00
            for r in ablation["results"]
        ]
        against = "the whole model" if ablation["against"] == "full" else ablation["against"]
        images = ablation["results"][0]["images"]
        few = f" ({images} images)" if images != report["images"] else ""
        rows.append([ablation["name"] + few, ", ".join(points), against])
    return table(["left out or exchanged", "PSNR dB at rate points 0 to 4 (difference)", "compared with"], rows)


def _other_sizes(reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [report for report in reports[1:] if report["drives"].keys() == reports[0]["drives"].keys()]


def sizes(reports: list[dict[str, Any]]) -> str:
    rows = []
    for report in reports:
        for steps in report["steps"]:
            points = [
                f"{r['bytes']:.0f}: {r['figures']['PSNR']:.2f} / {r['figures']['MS-SSIM dB']:.1f}"
                for r in report["results"]
                if r["steps"] == steps
            ]
            rows.append([f"{report['protocol']} ({report['images']})", plural(steps), ", ".join(points)])
    head = ["size (pairs)", "decoded in", "bytes: PSNR dB / MS-SSIM dB at rate points 0 to 4"]
    return table(head, rows)


def views(report: dict[str, Any], _: str) -> str:
    rows = []
    for view in ("left", "right"):
        points = []
        for result in (r for r in report["results"] if r["steps"] == min(report["steps"])):
            mine = [
                row
                for row in report["rows"]
                if (row["method"], row["setting"], row["steps"]) == ("full", result["setting"], result["steps"])
                and row["image"].endswith("-right") == (view == "right")
            ]
            size = fmean(row["bytes"] for row in mine)
            psnr, ms_ssim = (fmean(row["figures"][name] for row in mine) for name in ("PSNR", "MS-SSIM"))
            points.append(f"{size:.0f}: {psnr:.2f} / {decibel(ms_ssim):.1f}")
        rows.append([view, ", ".join(points)])
    return table(["coded camera", "bytes: PSNR dB / MS-SSIM dB at rate points 0 to 4"], rows)


def portable(command: str) -> str:
    """A command of `mdic bench` without what concerns only the machine where it was typed.

    Dropped are the output file, --force and options with an absolute path or one outside the working folder; they
    choose no figures, but for --model, whose name stands in the line below.
    """
    kept: list[str] = []
    words = shlex.split(command)
    while words:
        word = words.pop(0)
        option, equals, value = word.partition("=")
        if option == "--force":
            continue
        if option.startswith("--") and not equals and words and not words[0].startswith("--"):
            value = words.pop(0)
            word = f"{option} {shlex.quote(value)}"
        elif equals:
            word = f"{option}={shlex.quote(value)}"
        if option == "--output" or value.startswith(("/", "~", "..")):
            continue
        kept.append(word)
    return " ".join(kept)


TABLES = {"short": short, "results": results, "codecs": codecs, "parts": parts, "views": views}


def main(folders: list[str]) -> None:
    if not folders or folders[0].startswith("-"):
        sys.exit(__doc__)
    if len(folders) == 1 and folders[0].endswith(".json"):
        bench = json.loads(Path(folders[0]).read_text())
        text = f"`{portable(bench['command'])}`\n\n{markdown(bench).strip()}"
        for file in FILES:
            written = re.sub(
                r"(<!-- bench -->)\n.*?(<!-- /bench -->)",
                lambda match: f"{match[1]}\n{text}\n{match[2]}",
                file.read_text(),
                flags=re.DOTALL,
            )
            file.write_text(written)
        return
    reports = [json.loads((Path(folder) / "report.json").read_text()) for folder in folders]

    both = [report for report in reports if any(row["image"].endswith("-right") for row in report["rows"])]
    reports = [report for report in reports if report not in both]
    if not reports:
        sys.exit("the first REPORT is one in MDIC's protocol, without --both-orders")
    by_size = {None: reports[0], **{report["protocol"]: report for report in reports}}

    def put(match: re.Match[str]) -> str:
        begin, name, steps, size, end = match.groups()
        of = {"sizes": _other_sizes(reports), "views": both}.get(name, [by_size[size]] if size in by_size else [])
        if not of:
            return match[0]
        text = sizes(of) if name == "sizes" else TABLES[name](of[0], steps or "")
        return f"{begin}\n{text}\n{end}"

    for file in FILES:
        marked = rf"(<!-- ({'|'.join(TABLES)}|sizes)(?: (\d[\d,]*))?(?: (\w+))? -->)\n.*?(<!-- /\2 -->)"
        file.write_text(re.sub(marked, put, file.read_text(), flags=re.DOTALL))


if __name__ == "__main__":
    main(sys.argv[1:])
