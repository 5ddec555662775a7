"""What a run tells: CSV files, TensorBoard, pictures, and a bar or lines on the terminal."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

#: Seconds between two lines where there is no terminal to draw a bar on.
LINE_EVERY_S = 10.0


class CsvLog:
    """Rows of figures in a CSV file, whose first column is the step; new figures become new columns.

    Args:
        path: appended to if it is there.
        step: rows of later steps are dropped: a run that goes on from an older checkpoint writes them again.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.columns: list[str] = []
        if path.is_file():
            columns, rows = self._read()
            self._rewrite(columns, [row for row in rows if float(row["step"]) <= step])

    def row(self, values: Mapping[str, float]) -> None:
        """Appends a row; a figure that is missing leaves its place empty."""
        if new := [name for name in values if name not in self.columns]:
            self._rewrite(self.columns + new, self._read()[1] if self.path.is_file() else [])
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self.columns).writerow({k: f"{v:.6g}" for k, v in values.items()})

    def _read(self) -> tuple[list[str], list[dict[str, str]]]:
        """Columns and rows; what a crash or a full disk left of a row is passed over."""
        with self.path.open(newline="", errors="replace") as file:
            reader = csv.DictReader(file)
            rows = [row for row in reader if _is_whole(row)]
        columns = list(reader.fieldnames or ())
        return (columns, rows) if "step" in columns else ([], [])

    def _rewrite(self, columns: list[str], rows: list[dict[str, str]]) -> None:
        self.columns = columns
        partial = self.path.with_suffix(".partial")
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        partial.replace(self.path)


def _is_whole(row: dict[str | None, str | None]) -> bool:
    """Whether a row has a step, and nothing but numbers and empty places in as many columns as there are."""
    try:
        float(row.get("step") or "")
        return None not in row and all(value == "" or float(str(value)) is not None for value in row.values())
    except ValueError:
        return False


class RunLog:
    """The logs of one run; a context manager. Of several processes only the main one has logs that write.

    Args:
        out: gets train.csv, validation.csv, pictures/ and tensorboard/.
        step: where the run starts or goes on.
        writes: whether this process is the one.
    """

    def __init__(self, out: Path, step: int, writes: bool) -> None:
        self.out, self.writes = out, writes
        self._spoken = 0.0
        self._board: Any = None
        console = Console(highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not (writes and sys.stdout.isatty()),
        )
        self._task = self._bar.add_task(out.name, total=1.0)
        if not writes:
            return
        self._training, self._validation = (CsvLog(out / f"{name}.csv", step) for name in ("train", "validation"))
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError:
            self.say("no TensorBoard log: pip install tensorboard")
        else:
            self._board = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1)

    def say(self, text: str) -> None:
        """A line on the terminal."""
        if self.writes and self._bar.disable:
            print(text, flush=True)
        elif self.writes:
            self._bar.console.print(text, markup=False)

    def advance(self, progress: float) -> None:
        """Moves the bar; 0 to 1."""
        self._bar.update(self._task, completed=progress)

    def training(self, step: int, minutes: float, figures: Mapping[str, float]) -> None:
        """Means over the last steps."""
        if not self.writes:
            return
        self._training.row({"step": step, "minutes": minutes, **figures})
        self._to_board("train", step, figures)
        text = f"step {step}, {minutes:.1f} min: {_short(figures)}"
        self._bar.update(self._task, description=text)
        if self._bar.disable and time.monotonic() - self._spoken >= LINE_EVERY_S:
            self._spoken = time.monotonic()
            self.say(text)

    def validation(self, step: int, minutes: float, figures: Mapping[str, float]) -> None:
        """Figures on the held-out drives."""
        if self.writes:
            self._validation.row({"step": step, "minutes": minutes, **figures})
            self._to_board("validation", step, figures)
            self.say(f"validation at step {step}, {minutes:.1f} min: {_short(figures)}")

    def picture(self, step: int, sheet: NDArray[np.uint8]) -> None:
        """A contact sheet, H x W x 3 uint8 RGB, as pictures/STEP.png."""
        if self.writes:
            folder = self.out / "pictures"
            folder.mkdir(exist_ok=True)
            Image.fromarray(sheet).save(folder / f"{step:07d}.png")
            if self._board is not None:
                self._board.add_image("held out", sheet, step, dataformats="HWC")

    def _to_board(self, group: str, step: int, figures: Mapping[str, float]) -> None:
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(f"{group}/{name}", value, step)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if self._board is not None:
            self._board.close()


def _short(figures: Mapping[str, float]) -> str:
    return " ".join(f"{name}={value:.4g}" for name, value in figures.items())
