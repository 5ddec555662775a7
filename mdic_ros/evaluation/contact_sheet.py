"""Labelled pictures: tiles, and sheets of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mdic_ros.evaluation.metrics import Image as Picture

PAPER = (255, 255, 255)
GAP = 6
STRIP = 19  #: height of a line of text
_INK, _FAINT, _EDGE = (25, 25, 25), (110, 110, 110), (170, 170, 170)
_FONT_SIZE = 13


def write_line(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, width: int, faint: bool = False) -> None:
    """A line of text, cut to `width` pixels."""
    font = ImageFont.load_default(_FONT_SIZE)
    if draw.textlength(text, font) > width:
        while text and draw.textlength(text + "...", font) > width:
            text = text[:-1]
        text += "..."
    draw.text(at, text, _FAINT if faint else _INK, font)


def enlarged(image: Picture, scale: int) -> Image.Image:
    """A picture, H x W x 3 or H x W uint8, as RGB, `scale` times larger."""
    picture = Image.fromarray(image).convert("RGB")
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.BICUBIC)


@dataclass(frozen=True)
class Tile:
    """A picture, H x W x 3 RGB or H x W grey uint8, and the line above it; None for a picture that is not there."""

    image: Picture | None
    label: str


def spread(count: int, wanted: int = 3) -> list[int]:
    """Up to `wanted` frame numbers in 0..count-1, evenly spread."""
    wanted = min(wanted, count)
    return [(2 * i + 1) * count // (2 * wanted) for i in range(wanted)]


def contact_sheet(blocks: Sequence[Sequence[Sequence[Tile]]], size: tuple[int, int], title: Sequence[str]) -> Picture:
    """Blocks of rows of tiles under a title of some lines.

    Args:
        blocks: one for each frame: rows of tiles of one size, aligned in columns.
        size: (height, width) of a picture; small ones are enlarged so that the labels have room.
        title: lines at the top.

    Returns:
        The sheet, H x W x 3 uint8.
    """
    scale = max(1, -(-240 // size[1]))
    height, width = size[0] * scale, size[1] * scale
    columns = max(len(row) for block in blocks for row in block)
    cell = STRIP + height + 2
    head = GAP + STRIP * len(title) + GAP
    total = head + sum(len(block) * cell + 2 * GAP for block in blocks)
    canvas = Image.new("RGB", (columns * (width + GAP) + GAP, total), PAPER)
    draw = ImageDraw.Draw(canvas)
    for number, text in enumerate(title):
        write_line(draw, (GAP, GAP + number * STRIP), text, canvas.width - 2 * GAP, faint=number > 0)
    top = head
    for block in blocks:
        for row in block:
            for column, tile in enumerate(row):
                left = GAP + column * (width + GAP)
                write_line(draw, (left, top), tile.label, width)
                if tile.image is not None:
                    canvas.paste(enlarged(tile.image, scale), (left, top + STRIP))
                    edge = (left - 1, top + STRIP - 1, left + width, top + STRIP + height)
                    draw.rectangle(edge, outline=_EDGE)  # a picture may be as white as the paper
            top += cell
        top += 2 * GAP
    return np.asarray(canvas)
