"""Evaluates a bundle on stereo pairs: every rate point, with, without and with a foreign side image."""

from __future__ import annotations

import importlib.metadata
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mdic_ros.codec import Decoder, Encoder
from mdic_ros.datasets import StereoFrame, open_stereo
from mdic_ros.evaluation.metrics import Image, decibel, ms_ssim, psnr
from mdic_ros.evaluation.protocol import Protocol, view


@dataclass(frozen=True)
class Row:
    """One image, coded once and decoded once."""

    drive: str
    frame: str
    side: str  #: "right" = its own side image, "none", "foreign" = that of another drive
    rate_point: int
    bytes: int  #: the whole bitstream, header and checks included
    bpp: float
    psnr: float  #: dB
    ms_ssim: float


def find_recordings(path: Path) -> list[Path]:
    """The recordings under a path: itself, or every sub-folder that holds left and right images.

    Raises:
        FileNotFoundError: there is none.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is no folder")
    nested = sorted(p.parent for p in path.rglob("left") if p.is_dir() and (p.parent / "right").is_dir())
    return nested or [path]


def read_pairs(path: Path, limit: int | None = None) -> Iterator[tuple[str, StereoFrame]]:
    """Drive name and frame of the recordings under a path, at most `limit` of each."""
    for recording in find_recordings(path):
        with open_stereo(recording) as source:
            for frame in source[: limit or len(source)]:
                yield recording.name, frame


def evaluate(
    encoder: Encoder,
    decoder: Decoder,
    pairs: Sequence[tuple[str, str, Image, Image]],
    steps: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Row]:
    """Codes the left images at every rate point and decodes them from their bytes.

    Args:
        pairs: drive, frame, left and right image (H x W x 3 uint8 RGB) each; all in the protocol's size.
        steps: denoising steps.
        progress: called with images done and in all.
    """
    rows = []
    for number, (drive, frame, left, right) in enumerate(pairs):
        others = [pair for pair in pairs if pair[0] != drive and pair[3].shape == right.shape]
        sides: dict[str, Image | None] = {"right": right, "none": None}
        if others:
            sides["foreign"] = others[number % len(others)][3]
        captions = {name: "" if side is None else decoder.caption(side) for name, side in sides.items()}
        for rate_point, data in enumerate(encoder.encode_all(left)):
            for name, side in sides.items():
                image = decoder.decode(data, side, caption=captions[name], steps=steps).image
                pixels = left.shape[0] * left.shape[1]
                rows.append(
                    Row(
                        drive,
                        frame,
                        name,
                        rate_point,
                        len(data),
                        8 * len(data) / pixels,
                        psnr(image, left),
                        ms_ssim(image, left),
                    )
                )
        progress(number + 1, len(pairs))
    return rows


def summarise(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Means over the images per side image and rate point. MS-SSIM in dB is taken of the mean, as papers do."""
    table = []
    for side in dict.fromkeys(row.side for row in rows):
        for rate_point in sorted({row.rate_point for row in rows}):
            group = [row for row in rows if row.side == side and row.rate_point == rate_point]
            similarity = statistics.fmean(row.ms_ssim for row in group)
            table.append(
                {
                    "side": side,
                    "rate_point": rate_point,
                    "images": len(group),
                    "bytes": statistics.fmean(row.bytes for row in group),
                    "max_bytes": max(row.bytes for row in group),
                    "bpp": statistics.fmean(row.bpp for row in group),
                    "psnr": statistics.fmean(row.psnr for row in group),
                    "ms_ssim": similarity,
                    "ms_ssim_db": decibel(similarity),
                }
            )
    return table


def run(
    data: Path,
    model: Path | None,
    protocol: Protocol,
    steps: int,
    limit: int | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Everything `mdic eval` reports: a summary, rows per image, and what is needed to repeat it."""
    encoder, decoder = Encoder.from_pretrained(model, device), Decoder.from_pretrained(model, device)
    pairs = [
        (drive, frame.name, view(frame.left, protocol), view(frame.right, protocol))
        for drive, frame in read_pairs(data, limit)
    ]
    rows = evaluate(encoder, decoder, pairs, steps, progress)
    copied = [(psnr(right, left), ms_ssim(right, left)) for _, _, left, right in pairs]
    similarity = statistics.fmean(s for _, s in copied)
    return {
        "model_id": encoder.model_id,
        "fingerprint": encoder.fingerprint,
        "protocol": protocol,
        "steps": steps,
        "images": len(pairs),
        "drives": sorted({drive for drive, *_ in pairs}),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "diffusers", "constriction")},
        "side_copied": {"psnr": statistics.fmean(p for p, _ in copied), "ms_ssim_db": decibel(similarity)},
        "summary": summarise(rows),
        "rows": [asdict(row) for row in rows],
    }


def markdown(report: dict[str, Any]) -> str:
    """The summary as a Markdown table."""
    lines = [
        f"{report['model_id']} {report['fingerprint'][:8]}, protocol {report['protocol']}, "
        f"{report['images']} images of "
        f"{len(report['drives'])} drives, {report['steps']} step(s)",
        "",
        "| side image | rate point | bytes (max) | bpp | PSNR dB | MS-SSIM dB |",
        "|---|---|---|---|---|---|",
        f"| copied as it is | - | 0 | 0 | {report['side_copied']['psnr']:.2f} "
        f"| {report['side_copied']['ms_ssim_db']:.2f} |",
    ]
    lines += [
        f"| {r['side']} | {r['rate_point']} | {r['bytes']:.0f} ({r['max_bytes']}) | {r['bpp']:.4f} | {r['psnr']:.2f} "
        f"| {r['ms_ssim_db']:.2f} |"
        for r in report["summary"]
    ]
    return "\n".join(lines) + "\n"
