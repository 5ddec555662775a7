"""Labelled pictures: tiles, the side-by-side video, the contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mdic_ros.demo.frames import Picture

_PAPER, _INK, _FAINT, _EDGE = (255, 255, 255), (25, 25, 25), (110, 110, 110), (170, 170, 170)
_GAP = 6
_FONT_SIZE = 13
_STRIP = 19  # height of a line of text


def _text(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, width: int, faint: bool = False) -> None:
    """A line of text, cut to `width` pixels."""
    font = ImageFont.load_default(_FONT_SIZE)
    if draw.textlength(text, font) > width:
        while text and draw.textlength(text + "...", font) > width:
            text = text[:-1]
        text += "..."
    draw.text(at, text, _FAINT if faint else _INK, font)


def _scaled(image: Picture, scale: int) -> Image.Image:
    picture = Image.fromarray(image).convert("RGB")
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.BICUBIC)


@dataclass(frozen=True)
class Tile:
    """A picture, H x W x 3 RGB or H x W grey uint8, and the line above it; None for a picture that is not there."""

    image: Picture | None
    label: str


def panels(tiles: Sequence[Tile], size: tuple[int, int], scale: int, footer: str = "") -> Picture:
    """Tiles side by side with their labels on top and a line below, with even sides as video codecs want.

    Args:
        tiles: pictures of one size.
        size: (height, width) of a picture.
        scale: how many times larger to show them.
        footer: text below all of them.
    """
    height, width = size[0] * scale, size[1] * scale
    total = len(tiles) * (width + _GAP) + _GAP
    rows = _GAP + _STRIP + height + _STRIP + _GAP
    canvas = Image.new("RGB", (total + total % 2, rows + rows % 2), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for index, tile in enumerate(tiles):
        left = _GAP + index * (width + _GAP)
        _text(draw, (left, _GAP - 2), tile.label, width)
        if tile.image is not None:
            canvas.paste(_scaled(tile.image, scale), (left, _GAP + _STRIP))
    _text(draw, (_GAP, _GAP + _STRIP + height + 2), footer, total - 2 * _GAP, faint=True)
    return np.asarray(canvas)


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
    cell = _STRIP + height + 2
    head = _GAP + _STRIP * len(title) + _GAP
    total = head + sum(len(block) * cell + 2 * _GAP for block in blocks)
    canvas = Image.new("RGB", (columns * (width + _GAP) + _GAP, total), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for number, text in enumerate(title):
        _text(draw, (_GAP, _GAP + number * _STRIP), text, canvas.width - 2 * _GAP, faint=number > 0)
    top = head
    for block in blocks:
        for row in block:
            for column, tile in enumerate(row):
                left = _GAP + column * (width + _GAP)
                _text(draw, (left, top), tile.label, width)
                if tile.image is not None:
                    canvas.paste(_scaled(tile.image, scale), (left, top + _STRIP))
                    edge = (left - 1, top + _STRIP - 1, left + width, top + _STRIP + height)
                    draw.rectangle(edge, outline=_EDGE)  # a mask may be all white
            top += cell
        top += 2 * _GAP
    return np.asarray(canvas)


class Video:
    """Writes an mp4 (H.264, 4:2:0) that browsers and players open; a context manager.

    The file appears under its name only when the block ends without an error.

    Args:
        path: name of the file.
        rate_hz: pictures per second.
    """

    def __init__(self, path: Path, rate_hz: float) -> None:
        self._path, self._part = path, path.with_name(f".{path.stem}.part{path.suffix}")
        self._rate = Fraction(rate_hz).limit_denominator(1000)
        self._container = av.open(str(self._part), "w", format="mp4", options={"movflags": "faststart"})
        self._stream: Any = None  # av's types know no codec by name
        self.frames = 0

    def __enter__(self) -> Video:
        return self

    def add(self, picture: Picture) -> None:
        """One more picture, H x W x 3 uint8 RGB with even sides, all of one size."""
        if self._stream is None:
            self._stream = self._container.add_stream("libx264", rate=self._rate)
            self._stream.height, self._stream.width = picture.shape[:2]
            self._stream.pix_fmt = "yuv420p"
            self._stream.options = {"crf": "18", "preset": "veryfast"}
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        self._container.mux(self._stream.encode(frame))
        self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None and error is None:
            self._container.mux(self._stream.encode())
        self._container.close()
        if self._stream is not None and error is None:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)
