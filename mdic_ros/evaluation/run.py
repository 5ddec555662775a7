"""A whole evaluation: data in, report and contact sheets out."""

from __future__ import annotations

import datetime
import json
import logging
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from mdic_ros.codec import Decoder, Encoder
from mdic_ros.codec.encoder import usable_device
from mdic_ros.evaluation.anchors import ANCHORS, Anchor
from mdic_ros.evaluation.at_equal_bytes import at_equal_bytes
from mdic_ros.evaluation.bd import bd_psnr, bd_rate
from mdic_ros.evaluation.errors import EvaluationError
from mdic_ros.evaluation.evaluate import Pair, Progress, is_kept, load_pairs, measure, name_of, plan
from mdic_ros.evaluation.metrics import ImageMetric, SetMetric, psnr
from mdic_ros.evaluation.perceptual import load_metrics
from mdic_ros.evaluation.protocol import fixed_size
from mdic_ros.evaluation.provenance import machine, versions
from mdic_ros.evaluation.published import published
from mdic_ros.evaluation.results import Lazy, Pictures, Row, Rows, Spool, group, mean, summarise
from mdic_ros.evaluation.sheets import Sheet, make_sheets
from mdic_ros.evaluation.sources import default_protocol, share_of_each
from mdic_ros.evaluation.variants import ABLATIONS, FULL

log = logging.getLogger(__name__)

Stage = Callable[[str], AbstractContextManager[Progress]]  #: name of a stage -> its progress bar


@dataclass(frozen=True)
class Options:
    """What to evaluate, and how."""

    protocol: str | None = None  #: None = the one that the paper has for such data, else "whole"
    steps: tuple[int, ...] = (1,)
    limit: int | None = None
    both_orders: bool = False
    ablations: bool = True
    anchors: bool = True
    weights: Path | None = None  #: folder of the perceptual metrics' weights
    most: int | None = None  #: read no more pairs than this in all; without `limit`, about as many of each recording


@dataclass(frozen=True)
class Evaluation:
    """The result: `report` is plain data, for JSON."""

    report: dict[str, Any]
    sheets: list[Sheet]


def run(
    data: Path, model: Path | None, options: Options, output: Path | None, command: str, stage: Stage
) -> Evaluation | None:
    """Evaluates a bundle.

    Under `accelerate launch` the images are split over the processes, each with its own device.

    Args:
        data: see `mdic_ros.evaluation.sources.read_pairs`.
        model: bundle; None = the shipped one.
        output: folder where rows and pictures are kept as they come, so that the same call goes on after an
            interruption; None = keep nothing.
        command: how it was called, for the report.
        stage: shows progress.

    Returns:
        The evaluation, None in all processes but the main one.

    Raises:
        ResumeError: the output folder holds figures of another bundle, protocol or data.
        EvaluationError: the data has no pairs, or none that fit the protocol; or several processes without `output`.
        DatasetError: the data cannot be read.
    """
    protocol = options.protocol or default_protocol(data)
    fixed_size(protocol)  # raises before the work does
    limit = options.limit or (None if options.most is None else share_of_each(data, options.most))
    # One process may end long before another, so the usual timeout of minutes is too short here.
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=datetime.timedelta(days=7))
    if state.num_processes > 1 and output is None:
        raise EvaluationError("several processes meet in a folder: give one with --output")
    if not state.is_main_process:
        stage = _silent
    device = "cpu" if state.device.type == "cpu" else str(state.device)  # ONNX Runtime has no cpu:0
    encoder = Encoder.from_pretrained(model, usable_device(device))
    decoder = Decoder.from_pretrained(model, device)
    anchors = ANCHORS if options.anchors else ()
    image_metrics, set_metrics, not_computed = load_metrics(options.weights)
    software = versions()
    maker = json.dumps([software, state.device.type, decoder.dtype])
    rows = Rows(output, encoder.fingerprint, protocol, state.process_index, maker)
    with tempfile.TemporaryDirectory(prefix="mdic_eval_") as scratch:
        spool = Path(scratch) / "pairs"
        spool.mkdir()
        with stage("reading") as progress:
            pairs = load_pairs(data, protocol, limit, options.both_orders, Spool(spool), progress, options.most)
        if options.protocol is None and protocol == "whole" and state.is_main_process:
            log.warning(
                "the images are not of KITTI's size: they are taken whole and scaled to %s (height x width); "
                "--protocol takes another size",
                ", ".join(_sizes(pairs)),
            )
        least_seen = min(pair.seen for pair in pairs)
        if least_seen < 0.5 and state.is_main_process:
            log.warning(
                "protocol %s crops, only %.0f %% of some images is evaluated: --protocol 128x256 takes whole ones",
                protocol,
                100 * least_seen,
            )
        pictures = Pictures((output or Path(scratch)) / "pictures")
        jobs = plan(pairs, encoder.rate_points, options.steps, options.ablations, anchors)
        with stage("coding and measuring") as progress:
            measure(
                pairs,
                jobs,
                encoder=encoder,
                decoder=decoder,
                anchors=anchors,
                metrics=image_metrics,
                rows=rows,
                pictures=pictures,
                share=(state.process_index, state.num_processes),
                progress=progress,
            )
        state.wait_for_everyone()
        if not state.is_main_process:
            return None
        rows.read_all()
        done = rows.select(job for pair in pairs for job in jobs[name_of(pair)])
        with stage("measuring whole sets") as progress:
            names = [metric.name for metric in image_metrics]
            summaries = _summaries(pairs, done, names, set_metrics, pictures, progress)
        results = [s for s in summaries if s["method"] == FULL.name]
        competitors = [
            {
                "name": anchor.name,
                "sees_both": anchor.sees_both,
                "bytes_counted": anchor.bytes_counted,
                "results": [s for s in summaries if s["method"] == anchor.name],
            }
            for anchor in anchors
        ]
        report = {
            "bundle": {"model_id": encoder.model_id, "fingerprint": encoder.fingerprint},
            "data": str(data),
            "protocol": protocol,
            "least_seen": round(least_seen, 3),
            "sizes": _sizes(pairs),
            "steps": sorted(options.steps),
            "images": len(pairs),
            "side_psnr": mean([psnr(pair.side, pair.coded) for pair in pairs]),
            "drives": dict(Counter(pair.drive for pair in pairs)),
            "provenance": {
                "command": command,
                "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
                "machine": {**machine(device), "dtype": decoder.dtype, "processes": state.num_processes},
                "versions": software,
            },
            "metrics": _metrics(image_metrics, set_metrics),
            "not_computed": [asdict(entry) for entry in not_computed],
            "results": results,
            "anchors": competitors,
            "at_equal_bytes": at_equal_bytes(results, competitors),
            "ablations": _ablations(done, names, summaries),
            "not_available": _not_available(pairs, done) if options.ablations else [],
            "bd": _deltas(summaries, min(options.steps), anchors),
            "published": published(protocol),
            "rows": [_plain(row) for row in done],
        }
        with stage("contact sheets") as progress:
            sheets = make_sheets(
                pairs,
                encoder.model_id,
                encoder.rate_points,
                options.steps,
                rows,
                pictures,
                anchors,
                progress=progress,
            )
    return Evaluation(report, sheets)


@contextmanager
def _silent(_: str) -> Iterator[Progress]:
    yield lambda done, total: None


def _sizes(pairs: Sequence[Pair]) -> list[str]:
    """The coded sizes, height x width."""
    return [f"{height}x{width}" for height, width in sorted({pair.size for pair in pairs})]


def _summaries(
    pairs: Sequence[Pair],
    rows: Sequence[Row],
    names: Sequence[str],
    metrics: Sequence[SetMetric],
    pictures: Pictures,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Means of each (method, setting, steps); those whose pictures are kept get the figures of whole sets, too."""
    originals = {name_of(pair): pair for pair in pairs}
    groups = group(rows)
    for name in names:
        if odd := sum(not math.isfinite(row.figures[name]) for row in rows):
            log.warning("%s of %d pictures is infinite or no number (equal images, say): not in the means", name, odd)
    summaries = []
    for number, members in enumerate(groups.values()):
        summary = summarise(members, names)
        missing = [metric for metric in metrics if metric.name not in summary["figures"]]
        if missing and is_kept(members[0].job):
            images = Lazy([partial(pictures.load, row.job) for row in members])
            theirs = Lazy([partial(getattr, originals[row.job.image], "coded") for row in members])
            summary["figures"] |= {metric.name: metric.call(images, theirs) for metric in missing}
        summaries.append(summary)
        progress(number + 1, len(groups))
    return summaries


def _ablations(
    rows: Sequence[Row], names: Sequence[str], summaries: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Each variant with its results, and their differences to the variant that it is compared with."""
    groups = group(rows)
    found = []
    for variant in ABLATIONS:
        results = []
        for summary in summaries:
            if summary["method"] != variant.name:
                continue
            setting, steps = summary["setting"], summary["steps"]
            mine = groups[variant.name, setting, steps]
            images = {row.job.image for row in mine}
            base = [r for r in groups.get((variant.against, setting, steps), []) if r.job.image in images]
            reference = summarise(base, names)["figures"] if len(base) == len(mine) else {}
            difference = {
                name: value - reference[name] for name, value in summary["figures"].items() if name in reference
            }
            results.append({**summary, "difference": difference})
        if results:
            found.append(
                {"name": variant.name, "meaning": variant.meaning, "against": variant.against, "results": results}
            )
    return found


def _deltas(
    summaries: Sequence[Mapping[str, Any]], steps: int, anchors: Sequence[Anchor]
) -> list[dict[str, str | float | None]]:
    """Bjontegaard's deltas of the whole model in these steps against each anchor."""

    def curve(method: str, steps: int, metric: str) -> list[tuple[float, float]]:
        chosen = [s for s in summaries if s["method"] == method and s["steps"] == steps and s["bytes"]]
        return [(s["bytes"], s["figures"][metric]) for s in chosen]

    found: list[dict[str, str | float | None]] = []
    for anchor in anchors:
        for metric in ("PSNR", "MS-SSIM dB"):
            ours, theirs = curve(FULL.name, steps, metric), curve(anchor.name, 0, metric)
            if theirs:
                rate, quality = bd_rate(ours, theirs), bd_psnr(ours, theirs)
                found.append(
                    {
                        "anchor": anchor.name,
                        "metric": metric,
                        "steps": steps,
                        "rate": rate.value,
                        "rate_overlap": rate.overlap,
                        "quality": quality.value,
                        "quality_overlap": quality.overlap,
                    }
                )
    return found


def _not_available(pairs: Sequence[Pair], rows: Sequence[Row]) -> list[dict[str, str]]:
    """Ablations that the data does not allow, with the reason."""
    done = {row.job.method for row in rows}
    several = len({pair.drive for pair in pairs}) > 1
    foreign = "images of two drives have no size in common" if several else "the data has one drive only"
    return [
        {"name": v.name, "why": foreign if v.needs_other else "the data has no side image of that age"}
        for v in ABLATIONS
        if v.name not in done
    ]


def _metrics(image_metrics: Sequence[ImageMetric], set_metrics: Sequence[SetMetric]) -> list[dict[str, Any]]:
    """What each figure is, in the order of the tables."""
    described: list[dict[str, Any]] = []
    for kind, metrics in (("image", image_metrics), ("set", set_metrics)):
        for metric in metrics:
            described.append(
                {
                    "name": metric.name,
                    "kind": "image" if metric.name == "MS-SSIM dB" else kind,
                    "lower_is_better": metric.lower_is_better,
                    "meaning": metric.meaning,
                }
            )
    first = ("PSNR", "MS-SSIM", "MS-SSIM dB")
    return sorted(described, key=lambda m: first.index(m["name"]) if m["name"] in first else len(first))


def _plain(row: Row) -> dict[str, Any]:
    """A row as JSON has it."""
    return {**row.job._asdict(), "pixels": row.pixels, "bytes": row.bytes, "bpp": row.bpp, "figures": row.figures}
