"""The same frames at every rate point, through the codec without ROS: what the contact sheet shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from mdic_ros.cli.demo.frames import Picture
from mdic_ros.codec import Bundle, Decoder, Encoder, SideView
from mdic_ros.codec.images import resize_image
from mdic_ros.datasets import StereoSource
from mdic_ros.evaluation.contact_sheet import Tile
from mdic_ros.evaluation.metrics import psnr


@dataclass(frozen=True)
class Point:
    """One frame at one rate point."""

    bytes: int
    psnr_db: float
    picture: Picture


@dataclass(frozen=True)
class Sample:
    """One frame of the sheet: the pair at the coded size, and what became of it, coarse to fine."""

    frame: int
    original: Picture
    side: Picture
    side_psnr_db: float
    points: list[Point]


def code(
    bundle: Bundle,
    source: StereoSource,
    frames: Sequence[int],
    size: tuple[int, int],
    steps: int,
    captions: dict[int, str],
) -> list[Sample]:
    """Encode and decode frames at all rate points.

    Args:
        bundle: the model.
        source: the recording.
        frames: which of its frames.
        size: (height, width) to code at.
        steps: denoising steps.
        captions: what conditioned the frame when it was played, so that the pictures are the same ones.
    """
    encoder, decoder = Encoder.from_pretrained(bundle.path), Decoder.from_pretrained(bundle.path)
    samples = []
    for index in frames:
        frame = source[index]
        original, side = (resize_image(image, *size) for image in (frame.left, frame.right))
        caption = captions.get(index)
        if caption is None:
            caption = decoder.caption(side)
        points = []
        for data in encoder.encode_all(original):
            result = decoder.decode(data, [SideView(side)], caption=caption, steps=steps)
            points.append(Point(len(data), psnr(result.image, original), result.image))
        samples.append(Sample(index, original, side, psnr(side, original), points))
    return samples


def tiles(samples: Sequence[Sample]) -> list[list[list[Tile]]]:
    """A row for each frame: original, side image, and the picture of each rate point."""
    blocks = []
    for sample in samples:
        row = [
            Tile(sample.original, f"frame {sample.frame}: original"),
            Tile(sample.side, f"side image: 0 bytes, {sample.side_psnr_db:.1f} dB"),
        ]
        for number, point in enumerate(sample.points):
            row.append(Tile(point.picture, f"rate point {number}: {point.bytes} bytes, {point.psnr_db:.1f} dB"))
        blocks.append([row])
    return blocks


def summary(samples: Sequence[Sample], size: tuple[int, int]) -> list[dict[str, Any]]:
    """Medians over the frames for every rate point, as JSON has them."""
    rows = []
    for number, points in enumerate(zip(*(sample.points for sample in samples), strict=True)):
        count = float(median(point.bytes for point in points))
        rows.append(
            {
                "rate_point": number,
                "bytes": count,
                "bpp": round(8 * count / (size[0] * size[1]), 5),
                "psnr_db": round(float(median(point.psnr_db for point in points)), 3),
            }
        )
    return rows
