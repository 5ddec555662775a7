"""What the commands say to people, on stderr. Results for a pipe go to stdout."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mdic_ros.cli.offline import Summary


def say(text: str) -> None:
    """A line as it is: file names may hold brackets, which rich would take for markup."""
    from rich.console import Console

    Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)


def counted(number: int, thing: str) -> str:
    """A number of things: "1 frame", "2 frames"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def report_failures(failures: Sequence[str]) -> None:
    """The first few sentences about frames that are not in the output."""
    for sentence in failures[:5]:
        say(f"  left out: {sentence}")
    if len(failures) > 5:
        say(f"  ... and {len(failures) - 5} more")


def report_summary(output: Path, summary: Summary) -> None:
    """What came of coding a recording."""
    report_failures(summary.failures)
    counts = {point: summary.rate_points.count(point) for point in sorted(set(summary.rate_points))}
    points = ", ".join(f"{count} at rate point {point}" for point, count in counts.items())
    problems = f"; {counted(len(summary.failures), 'problem')}" if summary.failures else ""
    for note in summary.notes:
        say(f"note: {note}")
    coded, side = summary.unpaired
    if coded or side:
        say(f"note: {coded} images of the coded camera and {side} of the other one found no partner")
    alone = f"; {summary.without_side} without side image" if summary.without_side else ""
    rate = "" if math.isnan(summary.kbps) else f", {summary.kbps:.2f} kbit/s"  # one frame has no rate
    say(
        f"{output}: {counted(len(summary.sizes), 'frame')} ({points}), "
        f"{summary.mean_bytes:.1f} bytes a frame, {summary.bpp:.4f} bits per pixel{rate}{alone}{problems}"
    )


class Warnings(logging.Handler):
    """Warnings of this package as lines, each once: a recording may be opened twice."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{record.levelname.lower()}: {record.getMessage()}"
        if text not in self._said:
            self._said.add(text)
            say(text)
