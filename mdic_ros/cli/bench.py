"""`mdic bench`: how fast encoding and decoding are on this machine, and what memory they take."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mdic_ros.cli.files import check_new_file, write_file
from mdic_ros.cli.limits import CODED, number, parse_size, parse_steps
from mdic_ros.cli.options import DeviceOption, ForceOption, ModelOption, ThreadsOption


def bench(
    model: ModelOption = None,
    size: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HxW", help="Height x width to code, repeatable; without it 128x256, 256x512 and 375x1242."
        ),
    ] = None,
    steps: Annotated[str, typer.Option(metavar="N,N,...", help="Denoising steps to decode in.")] = "1,2,4,10",
    device: DeviceOption = "cpu",
    frames: Annotated[int, number("frames", help="Frames that each figure is made of.")] = 20,
    threads: ThreadsOption = 0,
    busy: Annotated[
        int, number("busy", metavar="N", help="Measure beside N processes that keep a core busy each, too.")
    ] = 0,
    encode_only: Annotated[
        bool, typer.Option("--encode-only", help="Only the robot's half: needs nothing but the base install.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="JSON file for all figures and what made them.")
    ] = None,
    force: ForceOption = False,
) -> None:
    """Measure how long encoding and decoding take on this machine, stage by stage, and the memory of either.

    Also: the seconds until the first result, the size of the install, and the encoder's networks in PyTorch for
    comparison. Pictures are those of the sample drive. A machine that does other things meanwhile shows in the 95th
    percentile. Ten steps at 375x1242 take seconds a frame on a CPU: ask for fewer --frames.

    Examples:

        mdic bench --size 128x256 --steps 1

        mdic bench --size 128x256 --encode-only --busy 4     (on a robot, beside other work)

        mdic bench --device cuda --output bench.json
    """
    options: dict[str, Any] = {"steps": parse_steps(steps), "frames": frames, "threads": threads, "device": device}
    options |= {"busy": busy, "encode_only": encode_only}
    if size:
        options["sizes"] = tuple(parse_size(text, least=CODED) for text in dict.fromkeys(size))
    if output is not None:
        check_new_file(output, force, ".json")
    from mdic_ros.evaluation.bench import Options, run
    from mdic_ros.evaluation.bench_report import markdown
    from mdic_ros.progress import Progress

    with Progress("measuring", "figures") as progress:
        report = run(model, Options(**options), progress)
    report["command"] = shlex.join(["mdic", *sys.argv[1:]])
    if output is not None:
        write_file(output, (json.dumps(report, indent=1) + "\n").encode())
    typer.echo(markdown(report))
