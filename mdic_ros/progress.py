"""How far a long job is, for people: a bar on a terminal, a line every ten seconds on a pipe or in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TextIO

#: Called with what is done and what there is in all, None = unknown.
Report = Callable[[int, int | None], None]

#: Seconds between two lines where there is no terminal.
LINE_EVERY_S = 10.0


class Progress:
    """Shows one job; a context manager, and inside it a `Report`: call it with (done, total).

    Attributes:
        title: what is going on, e.g. "encoding street"; may be changed meanwhile.

    Args:
        title: at the beginning.
        unit: what is counted, in the plural, may be empty; "%" where `done` is a percentage.
        stream: where to; None = stderr.
        hidden: show nothing, e.g. in all processes of a job but one.
        every_s: seconds between two lines where there is no terminal.
        clock: gives seconds.
    """

    def __init__(
        self,
        title: str,
        unit: str = "frames",
        *,
        stream: TextIO | None = None,
        hidden: bool = False,
        every_s: float = LINE_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.title, self._unit, self._hidden = title, unit, hidden
        self._stream, self._every_s, self._clock = stream, every_s, clock
        self._bar: Any = None
        self._began = self._spoken = clock()
        self._first: int | None = None

    def __enter__(self) -> Self:
        stream = self._stream or sys.stderr
        if not self._hidden and stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn
            from rich.progress import TimeRemainingColumn as Remaining

            count = TaskProgressColumn() if self._unit == "%" else MofNCompleteColumn()
            console = Console(file=stream, highlight=False, soft_wrap=True)
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                count,
                Remaining(),
                console=console,
                transient=True,
            )
            self._task = self._bar.add_task(self.title, total=None)
            self._bar.start()
        self._began = self._spoken = self._clock()
        return self

    def __call__(self, done: int, total: int | None = None) -> None:
        """Tell what is done and what there is in all; cheap, so call it as often as something is done."""
        if self._bar is not None:
            self._bar.update(self._task, description=self.title, completed=done, total=total)
            return
        now = self._clock()
        if self._first is None:  # what was done in an earlier run says nothing about the time that is left
            self._first, self._began = done, now
        if now - self._spoken >= self._every_s:
            self._spoken = now
            self.say(f"{self.title}: {self._far(done, total)}{self._left(done, total, now)}")

    def _far(self, done: int, total: int | None) -> str:
        if self._unit == "%":
            return f"{done} %"
        return " ".join(filter(None, (f"{done}" if total is None else f"{done} of {total}", self._unit)))

    def _left(self, done: int, total: int | None, now: float) -> str:
        fresh = done - (self._first or 0)
        if total is None or fresh <= 0 or done >= total:
            return ""
        seconds = (now - self._began) / fresh * (total - done)
        return f", about {seconds:.0f} s left" if seconds < 100 else f", about {seconds / 60:.0f} min left"

    def say(self, text: str) -> None:
        """A line of its own, above the bar if there is one."""
        if self._hidden:
            return
        if self._bar is not None:
            self._bar.console.print(text, markup=False)
        else:
            print(text, file=self._stream or sys.stderr, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
