"""All stages of a bundle, one after the other, within one budget of wall-clock time."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import Annotated

from accelerate.utils import broadcast_object_list
from pydantic import Field, PositiveFloat, field_validator

from mdic_ros.training.config import ConfigError, Options, read_options
from mdic_ros.training.loop import start_processes
from mdic_ros.training.sources import TrainingData
from mdic_ros.training.stages import (
    STAGES,
    StageConfig,
    check_captions,
    check_held_out,
    finish,
    held_out_drives,
    train_stage,
)

#: Share and seconds of the budget that are kept back for loading libraries, finishing the bundle and exiting.
_RESERVE_SHARE, _RESERVE_S = 0.02, 10.0


class AllConfig(Options):
    """The options of all.yaml."""

    minutes: PositiveFloat = 101.0  #: for everything: loading data, training, validations, finishing the bundle
    #: stage -> its share of the time, in any unit; a stage that is left out is not run
    shares: Annotated[dict[str, PositiveFloat], Field(validate_default=True)] = Field(default_factory=dict)

    @field_validator("shares")
    @classmethod
    def _check_stages(cls, shares: dict[str, float]) -> dict[str, float]:
        unknown = [stage for stage in shares if stage not in STAGES]
        if unknown or not shares:
            found = f"'{unknown[0]}' is not a stage" if unknown else "it is empty"
            raise ValueError(f"{found}; write a number above 0 for some of {', '.join(STAGES)}")
        return shares


class _Plan:
    """Minutes granted to each stage, the stages that are done, and minutes used; in a file, for a run that goes on.

    Args:
        path: the file.
        shares: of the stages that are run, in their order.
        minutes: budget over all calls.
    """

    def __init__(self, path: Path, shares: dict[str, float], minutes: float) -> None:
        self.path, self.shares, self.minutes = path, shares, minutes
        self.granted: dict[str, float] = {}
        self.done: list[str] = []
        self._before, self._began = 0.0, time.monotonic()
        if path.is_file():
            try:
                content = json.loads(path.read_text())
                self.granted = {stage: float(minutes) for stage, minutes in content["granted"].items()}
                self.done = list(content["done"])
                self._before = float(content["used"])
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ConfigError(f"{path} is damaged ({error}); choose another --out to start anew") from error

    @property
    def used(self) -> float:
        """Minutes, those of earlier calls included."""
        return self._before + (time.monotonic() - self._began) / 60

    def grant(self, stage: str) -> float:
        """Minutes for a stage that is ready to start: its share of what is left, or what it was granted before."""
        if stage not in self.granted:
            ahead = [name for name in self.shares if name not in self.done]
            left = (self.minutes - self.used) * self.shares[stage] / sum(self.shares[name] for name in ahead)
            # The main process's clock counts for all of them.
            (self.granted[stage],) = broadcast_object_list([max(left, 0.01)])
            self.save()
        return self.granted[stage]

    def save(self) -> None:
        """Writes the file."""
        if start_processes().is_main_process:
            part = self.path.with_suffix(".partial")
            part.write_text(
                json.dumps({"granted": self.granted, "done": self.done, "used": self.used}, indent=1) + "\n"
            )
            part.replace(self.path)


def train_all(
    config: Path, data: TrainingData, out: Path, bundle: Path, minutes: float | None = None
) -> tuple[str | None, bool]:
    """Trains every stage of all.yaml and finishes the bundle; a stopped run goes on with the stage where it was.

    Each stage gets its share of the time that is left when it is ready to start, so later stages get less if loading
    and validations have taken long.

    Args:
        config: all.yaml; the YAMLs of the stages lie beside it.
        data: what to train on.
        out: a folder per stage, see `loop.run`, and all.json with the times.
        bundle: folder of the model; its name becomes the model id.
        minutes: of wall-clock time instead of the YAML's, over all calls if the run is stopped and goes on.

    Returns:
        The bundle's fingerprint, or None while components are missing; and whether all stages are done: False if the
        run was stopped.

    Raises:
        ConfigError: a YAML is wrong, captions are missing, or held-out drives are; raised before anything is trained.
        DatasetError: the data cannot be used.
    """
    options = read_options(config, AllConfig)
    stages = [stage for stage in STAGES if stage in options.shares]
    configs = {stage: StageConfig(stage, config.parent / f"{stage}.yaml") for stage in stages}
    for stage, stage_config in configs.items():
        check_held_out(out / stage, held_out_drives(stage_config, data))
    if "captioner" in stages:
        check_captions(configs["captioner"], data)
    total = minutes if minutes is not None else options.minutes
    usable = total - max(_RESERVE_SHARE * total, min(_RESERVE_S / 60, total / 4))
    out.mkdir(parents=True, exist_ok=True)
    plan = _Plan(out / "all.json", {stage: options.shares[stage] for stage in stages}, usable)
    try:
        for stage in stages:
            if stage not in plan.done:
                if not train_stage(stage, configs[stage], data, out / stage, bundle, partial(plan.grant, stage)):
                    return finish(bundle), False
                finish(bundle)
                plan.done.append(stage)
                plan.save()
        return finish(bundle), True
    finally:
        plan.save()
