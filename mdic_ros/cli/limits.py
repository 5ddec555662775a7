"""What every numeric option of the commands takes: one table, and the ways to read it."""

from __future__ import annotations

import math
import re
from typing import Any

import typer

from mdic_ros.codec.bitstream import MAX_SCALES, MAX_SIDE, MIN_HEIGHT, MIN_WIDTH
from mdic_ros.codec.limits import MAX_SEED, MAX_STEPS, MAX_THREADS

_MANY = 1_000_000_000  # of frames: more than any recording has

#: Least and most of each. Where a node has a parameter of the same meaning, it has the same limits.
LIMITS: dict[str, tuple[float, float]] = {
    "busy": (0, MAX_THREADS),
    "frames": (1, _MANY),
    "height": (MIN_HEIGHT, MAX_SIDE),
    "limit": (1, _MANY),
    "max_bytes": (1, 1_000_000),
    "max_mb": (0.01, 1_000_000.0),
    "minutes": (0.01, 1_000_000.0),
    "rate_hz": (0.001, 1000.0),
    "rate_point": (0, MAX_SCALES - 1),
    "rate_point_or_finest": (-1, MAX_SCALES - 1),
    "seed": (0, MAX_SEED),
    "side_slop": (0.0, 10.0),
    "steps": (1, MAX_STEPS),
    "threads": (0, MAX_THREADS),
}

#: Heights and widths that can be coded begin here.
CODED = (MIN_HEIGHT, MIN_WIDTH)

#: Change of the aspect ratio from which on people are told.
_SQUEEZED = 1.5


def number(name: str, **options: Any) -> Any:
    """A `typer.Option` for a number within the limits of that name; `options` are its other arguments."""
    least, most = LIMITS[name]
    return typer.Option(min=least, max=most, callback=_no_nan, **options)


def _no_nan(value: float | None) -> float | None:
    """Comparing tells nothing about NaN, so it gets through the limits."""
    if value is not None and math.isnan(value):
        raise typer.BadParameter("nan is not a number")
    return value


def parse_size(text: str, option: str = "--size", least: tuple[int, int] = (1, 1)) -> tuple[int, int]:
    """(height, width) of text like "128x256", from `least` up to what can be coded.

    Raises:
        BadParameter: it is not like that.
    """
    found = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text.lower())
    if not found:
        raise typer.BadParameter(f"'{text}' is not a size like 128x256 (height x width)", param_hint=option)
    height, width = int(found[1]), int(found[2])
    if not (least[0] <= height <= MAX_SIDE and least[1] <= width <= MAX_SIDE):
        raise typer.BadParameter(
            f"{text} is not within {least[0]}x{least[1]} to {MAX_SIDE}x{MAX_SIDE} (height x width)", param_hint=option
        )
    return height, width


def parse_steps(text: str) -> tuple[int, ...]:
    """Numbers of steps, rising, of text like "1,2,4".

    Raises:
        BadParameter: it is not like that.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"\d{1,6}", part) and 1 <= int(part) <= MAX_STEPS for part in parts):
        raise typer.BadParameter(
            f"'{text}' is not a list of steps like 1,2,4 (1 to {MAX_STEPS} each)", param_hint="--steps"
        )
    return tuple(sorted({int(part) for part in parts}))


def squeeze_note(size: tuple[int, int], image: tuple[int, int]) -> str:
    """A sentence if an image of one (height, width), resized to another one, is squeezed by more than a factor of 1.5.

    Height and width are easily swapped. Empty if there is nothing to say.
    """
    change = size[0] * image[1] / (size[1] * image[0])
    if 1 / _SQUEEZED <= change <= _SQUEEZED:
        return ""
    return f"{size[0]}x{size[1]} is height x width; the image is {image[0]}x{image[1]} and is squeezed"
