"""`mdic train`: a model from stereo pairs."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mdic_ros.cli.console import say
from mdic_ros.cli.limits import number
from mdic_ros.cli.options import UsageError


class Stage(StrEnum):
    """Training stages, in the order in which a bundle needs them; or all of them."""

    all = "all"
    autoencoder = "autoencoder"
    codec = "codec"
    realism = "realism"
    captioner = "captioner"
    prior = "prior"


def train(
    stage: Annotated[Stage, typer.Argument(help="One stage, in this order into one bundle; or all of them.")],
    data: Annotated[
        Path,
        typer.Option(
            help="Folder with captions.jsonl and stereo/FOLDER/DRIVE/left and right; a pack of `mdic pack`; a "
            "recording, or a folder of recordings."
        ),
    ],
    bundle: Annotated[Path, typer.Option(help="Folder of the model to write; its name becomes the model id.")],
    out: Annotated[Path, typer.Option(help="Checkpoint, CSV, TensorBoard, pictures; a stopped run goes on from here.")],
    config: Annotated[Path | None, typer.Option(help="YAML; config/train/STAGE.yaml if not given.")] = None,
    minutes: Annotated[
        float | None, number("minutes", help="Wall-clock budget instead of the YAML's; with all, for all of it.")
    ] = None,
    hold_out: Annotated[
        list[str] | None, typer.Option(help="Drive to validate on instead of the YAML's, repeatable.")
    ] = None,
) -> None:
    """Train a model (a bundle). Ctrl-C saves; the same command goes on from there, exactly.

    The stages: autoencoder (pictures to latents and back), codec (what is sent, and everything that decodes it with
    the other camera's picture), realism (sharp pictures in two and more steps), captioner (a sentence about the other
    camera's picture), prior (fewer bytes for what is sent). `all` shares its minutes among them.

    How long, and what it buys, on two CPU cores and about 500 pairs at 128x256: `all --minutes 25` shows that
    everything works, with blurred pictures; an hour or two give usable ones; the model that ships took seven and
    a half hours (22.99 dB at 119 bytes on drives that it had never seen). Fine-tuning it to your cameras is the short
    way: copy models/mdic_tiny to a new folder, then codec for 10 to 40 minutes, realism and prior for 5 to 10 each; the
    last 76 minutes of codec took it from 20.53 to 20.89 dB at rate point 2 on a held-out drive. A GPU is used if there
    is one, several under `accelerate launch`. Watch a run with `tensorboard --logdir OUT`, or in OUT/train.csv,
    OUT/validation.csv and OUT/pictures.

    Examples:

        mdic train all --data pairs.zip --bundle my_model --out runs/all --hold-out DRIVE --minutes 25

        cp -r models/mdic_tiny my_model && mdic train codec --data DATA --bundle my_model --out runs/codec

        accelerate launch --num_processes 4 -m mdic_ros.cli train all --data DATA --bundle my_model --out runs/all
    """
    from mdic_ros.extras import need

    need("train")
    from mdic_ros.resources import resource
    from mdic_ros.training.budget import train_all
    from mdic_ros.training.history import describe_history, read_history
    from mdic_ros.training.loop import start_processes
    from mdic_ros.training.sources import TrainingData
    from mdic_ros.training.stages import train as train_one

    _check_nesting(bundle)
    yaml_file = config or resource(f"config/train/{stage.value}.yaml")
    with TrainingData(data, hold_out or (), out / "disparities.npz") as pairs:
        if stage is Stage.all:
            fingerprint, done = train_all(yaml_file, pairs, out, bundle, minutes)
        else:
            fingerprint, done = train_one(stage.value, yaml_file, pairs, out, bundle, minutes)
    if not start_processes().is_main_process:
        raise typer.Exit(0 if done else 130)
    for line in _reached(out):
        say(line)
    if not done:
        say(f"stopped; the same command goes on from {out}")
        raise typer.Exit(130)
    if fingerprint is None:
        say(f"{stage.value} is in {bundle}; stages that have not run yet are missing, so it cannot decode yet")
    else:
        say(f"{bundle} has all its parts, fingerprint {fingerprint}; `mdic eval` says how good they are")
        for line in describe_history(read_history(bundle)):
            say(line)


def _check_nesting(bundle: Path) -> None:
    """`cp -r models/mdic_tiny my_model` makes my_model/mdic_tiny where my_model was there before.

    Raises:
        UsageError: it has happened.
    """
    if not bundle.is_dir():
        return
    for inside in sorted(bundle.iterdir()):
        if (inside / "model_index.json").is_file():
            raise UsageError(
                f"{bundle} holds another model, {inside}: `cp -r` puts a copy inside a folder that exists already. "
                f"Name that one, --bundle {inside}, or move it out of there"
            )


def _reached(out: Path) -> Iterator[str]:
    """How far each stage of a run was trained, by the last row of its validation.csv."""
    for file in (out / "validation.csv", *sorted(out.glob("*/validation.csv"))):
        if not file.is_file():
            continue
        with file.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        if rows:
            step, minutes, figures = rows[-1].pop("step"), rows[-1].pop("minutes"), rows[-1]
            yield (
                f"{file.parent.name}: trained for {float(step):.0f} steps in {float(minutes):.1f} minutes; "
                f"on the held-out drives {_figures(figures)}"
            )


def _figures(figures: dict[str, str]) -> str:
    """PSNR at the rate points where a stage has measured it, else all that it has measured."""
    quality = [value for name, value in figures.items() if re.fullmatch(r"psnr\d+", name) and value]
    if quality:
        return f"PSNR {', '.join(f'{float(value):.2f}' for value in quality)} dB at rate points 0 to {len(quality) - 1}"
    return ", ".join(f"{name} {float(value):.4g}" for name, value in figures.items() if value)
