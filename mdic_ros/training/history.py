"""How far a model was trained: training.json in its bundle, one entry for each run of a stage.

`mdic info` shows it on a robot, too, so this module needs no PyTorch. The file is no part of what the bundle's index
lists: a model without it works the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from mdic_ros.errors import MdicError

FILE = "training.json"
_MOST_BYTES = 1 << 20

#: Crops that these stages have to see before pictures are worth looking at.
ENOUGH_CROPS = {"autoencoder": 4000, "codec": 4000}


class HistoryError(MdicError):
    """A training.json that cannot be read."""


@dataclass(frozen=True)
class StageRun:
    """One run of a stage.

    Attributes:
        stage: its name.
        minutes: wall-clock time of its steps and validations.
        steps: optimiser steps; None = unknown.
        crops: crops of pairs that these steps saw, with repetition; None = unknown.
        pairs: stereo pairs that there were to train on.
        drives: places or drives that the pairs are from; None = unknown.
    """

    stage: str
    minutes: float
    steps: int | None
    crops: int | None
    pairs: int
    drives: int | None


def read_history(bundle: Path) -> list[StageRun]:
    """The runs in their order; none if the bundle has no training.json.

    Raises:
        HistoryError: the file is damaged.
    """
    file = bundle / FILE
    try:
        with file.open("rb") as stream:
            runs = [StageRun(**entry) for entry in json.loads(stream.read(_MOST_BYTES))]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise HistoryError(f"{file} is damaged ({error}); remove it, the model works without") from error
    for run in runs:
        counts = [n for n in (run.steps, run.crops, run.drives) if n is not None]
        numbers = [run.minutes, run.pairs, *counts]
        if not isinstance(run.stage, str) or not all(type(n) in (int, float) and 0 <= n < 1e12 for n in numbers):
            raise HistoryError(f"{file} is damaged ({run}); remove it, the model works without")
    return runs


def write_history(bundle: Path, runs: Iterable[StageRun]) -> None:
    """Replaces training.json."""
    file = bundle / FILE
    partial = file.with_name(f".{FILE}.partial")
    partial.write_text(json.dumps([asdict(run) for run in runs], indent=1) + "\n")
    partial.replace(file)


def describe_history(runs: list[StageRun]) -> list[str]:
    """The runs in a line, and a warning if a stage was hardly trained."""
    if not runs:
        return [f"how far it was trained is not known: it has no {FILE}"]
    stages: dict[str, list[StageRun]] = {}
    for run in runs:
        stages.setdefault(run.stage, []).append(run)
    told = [_describe(stage, of) for stage, of in stages.items()]
    drives = f" of {runs[-1].drives} drives" if runs[-1].drives is not None else ""
    lines = [f"trained: {', '.join(told)}; last on {runs[-1].pairs} pairs{drives}"]
    for stage, enough in ENOUGH_CROPS.items():
        crops = [run.crops for run in stages.get(stage, [])]
        known = [count for count in crops if count is not None]
        if len(known) == len(crops) and sum(known) < enough:
            lines.append(
                f"warning: hardly trained: its {stage} stage has seen {sum(known)} crops, pictures are usable from "
                f"about {enough} on"
            )
    return lines


def _describe(stage: str, runs: list[StageRun]) -> str:
    minutes = sum(run.minutes for run in runs)
    known = [run.steps for run in runs if run.steps is not None]
    if not known:
        return f"{stage} {minutes:.4g} min"
    least = "at least " if len(known) < len(runs) else ""
    return f"{stage} {minutes:.4g} min ({least}{sum(known)} steps)"
