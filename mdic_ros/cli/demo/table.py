"""The live table on a terminal; plain lines everywhere else."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mdic_ros.cli.demo.frames import Row, medians

_SHOWN = 12


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


#: Column head, width, and the cell of a row.
COLUMNS: tuple[tuple[str, int, Callable[[Row], str]], ...] = (
    ("frame", 5, lambda row: str(row.frame)),
    ("bytes", 6, lambda row: str(row.bytes) if row.bytes else "-"),
    ("bpp", 7, lambda row: _number(row.bpp, 4)),
    ("kbit/s", 7, lambda row: _number(row.kbps, 1)),
    ("encode ms", 9, lambda row: _number(row.encode_ms, 0)),
    ("decode ms", 9, lambda row: _number(row.decode_ms, 0)),
    ("age ms", 7, lambda row: _number(row.age_ms, 0)),
    ("PSNR dB", 7, lambda row: _number(row.psnr_db, 2)),
)


def heading() -> str:
    """The heads of the columns as a line."""
    return " ".join(f"{name:>{width}}" for name, width, _ in COLUMNS)


def line(row: Row) -> str:
    """A row as a line under :func:`heading`."""
    text = " ".join(f"{cell(row):>{width}}" for _, width, cell in COLUMNS)
    return text if row.decoded else f"{text}  not decoded"


def table(rows: list[Row], total: int, note: str = "") -> Group:
    """The last rows, the medians of all, how far it is, and what the captioner says."""
    grid = Table(header_style="bold")
    for name, width, _ in COLUMNS:
        grid.add_column(name, justify="right", min_width=width, no_wrap=True)
    for row in rows[-_SHOWN:]:
        grid.add_row(*(cell(row) for _, _, cell in COLUMNS), style="" if row.decoded else "red")
    if rows:
        middle = medians(rows)
        summary = Row(
            frame=-1,
            stamp_ns=0,
            bytes=0 if math.isnan(middle["bytes"]) else round(middle["bytes"]),
            bpp=middle["bpp"],
            kbps=middle["kbps"],
            encode_ms=middle["encode_ms"],
            decode_ms=middle["decode_ms"],
            age_ms=middle["age_ms"],
            psnr_db=middle["psnr_db"],
        )
        grid.add_section()
        grid.add_row("median", *(cell(summary) for _, _, cell in COLUMNS[1:]), style="bold")
    caption = next((row.caption for row in reversed(rows) if row.caption), "")
    parts: list[Any] = [grid, Text(f"frame {len(rows)} of {total}{note}")]
    if caption:
        parts.append(Text(f'caption of the side image (automatic): "{caption}"', style="italic"))
    return Group(*parts)


class Display:
    """Shows rows as they come: a context manager.

    Args:
        console: where to; a table that grows in place on a terminal, a line for each row otherwise.
        total: number of frames to come.
    """

    def __init__(self, console: Console, total: int) -> None:
        self._console, self._total = console, total
        self._rows: list[Row] = []
        self._live = Live(console=console, refresh_per_second=4) if console.is_terminal else None

    def __enter__(self) -> Display:
        if self._live:
            self._live.start()
        return self

    def say(self, text: str) -> None:
        """A line above the table."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def add(self, row: Row, speed: float) -> None:
        """Show one more row; `speed` is that of the replay, 1 being as recorded."""
        self._rows.append(row)
        if self._live:
            note = "" if speed > 0.99 else f", played at {speed:.2f} of its speed, as this machine decodes"
            self._live.update(table(self._rows, self._total, note))
        else:
            if len(self._rows) == 1:
                self.say(heading())
            self.say(line(row))

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()
