"""The record of a run: CSV files, TensorBoard, pictures, progress."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mdic_ros.progress import Progress


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
        """Columns and rows; rows that a crash or a full disk has cut are skipped."""
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
        self._board: Any = None
        self._progress = Progress(out.name, "%", stream=sys.stdout, hidden=not writes)
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
        """A line on stdout."""
        self._progress.say(text)

    def advance(self, progress: float) -> None:
        """Shows how much of the budget is spent, 0 to 1."""
        self._progress(round(100 * progress), 100)

    def training(self, step: int, minutes: float, figures: Mapping[str, float]) -> None:
        """Means over the last steps."""
        if not self.writes:
            return
        self._training.row({"step": step, "minutes": minutes, **figures})
        self._to_board("train", step, figures)
        self._progress.title = f"{self.out.name}, step {step}, {minutes:.1f} min, {_short(figures)}"

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
        self._progress.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)
        if self._board is not None:
            self._board.close()


def _short(figures: Mapping[str, float]) -> str:
    return " ".join(f"{name}={value:.4g}" for name, value in figures.items())
