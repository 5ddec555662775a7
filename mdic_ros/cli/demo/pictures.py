"""Pictures of a run: tiles side by side, and the video of them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from PIL import Image, ImageDraw

from mdic_ros.cli.demo.frames import Picture
from mdic_ros.evaluation.contact_sheet import GAP, PAPER, STRIP, Tile, enlarged, write_line


def panels(tiles: Sequence[Tile], size: tuple[int, int], scale: int, footer: str | None = None) -> Picture:
    """Tiles side by side with their labels on top and, if wanted, a line below; even sides, as video codecs want.

    Args:
        tiles: pictures of one size.
        size: (height, width) of a picture.
        scale: how many times larger to show them.
        footer: text below all of them, for which there is room even if it is empty; None = no such line.
    """
    height, width = size[0] * scale, size[1] * scale
    total = len(tiles) * (width + GAP) + GAP
    rows = GAP + STRIP + height + GAP + (0 if footer is None else STRIP)
    canvas = Image.new("RGB", (total + total % 2, rows + rows % 2), PAPER)
    draw = ImageDraw.Draw(canvas)
    for index, tile in enumerate(tiles):
        left = GAP + index * (width + GAP)
        write_line(draw, (left, GAP - 2), tile.label, width)
        if tile.image is not None:
            canvas.paste(enlarged(tile.image, scale), (left, GAP + STRIP))
    if footer is not None:
        write_line(draw, (GAP, GAP + STRIP + height + 2), footer, total - 2 * GAP, faint=True)
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
