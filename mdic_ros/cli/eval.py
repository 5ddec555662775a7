"""`mdic eval`: what a model reaches, on real bitstreams, beside conventional codecs."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from mdic_ros.cli.console import say
from mdic_ros.cli.limits import number, parse_steps
from mdic_ros.cli.options import ModelOption
from mdic_ros.progress import Progress

_QUICK_PAIRS = 8  # that --quick takes, of one recording or of several together


def evaluate(
    data: Annotated[Path, typer.Argument(help="A recording, or a folder of recordings (one per drive).")],
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help=f"A first look in about a minute on two cores: {_QUICK_PAIRS} pairs in all, one step, no ablations, "
            "no conventional codecs.",
        ),
    ] = False,
    model: ModelOption = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            metavar="kitti|cityscapes|whole|native|HxW",
            help="Which pixels are coded. kitti: centre crop 370x740 resized to 128x256, as in the paper; cityscapes: "
            "the whole image resized to 128x256; whole: the whole image at 128 rows, not stretched; native: as they "
            "are; HxW: the whole image resized to height x width. Without it kitti for images of KITTI's size, "
            "cityscapes for its layout, else whole. The filter is bicubic (the paper's is bilinear: about 0.5 dB "
            "easier).",
        ),
    ] = None,
    steps: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help="Denoising steps to decode in; ablations take the fewest. Without it 1,4, with --quick 1. Ten take "
            "long; 1,2,4,10 shows what steps are worth.",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Backbones of LPIPS, FID ...; without it the report says what is missing."),
    ] = None,
    limit: Annotated[
        int | None, number("limit", metavar="N", help="At most N frames of each recording, of Cityscapes of each city.")
    ] = None,
    both_orders: Annotated[
        bool, typer.Option("--both-orders", help="Code the right image with the left one, too, as the paper does.")
    ] = False,
    ablations: Annotated[
        bool,
        typer.Option(
            help="Also decode with something left out or exchanged: the side image (the other camera's picture), the "
            "mask (where the decoder takes both views to agree), G1 and G2 (the networks that merge the views)."
        ),
    ] = True,
    anchors: Annotated[bool, typer.Option(help="Also code with JPEG, WebP, AVIF, HEVC ...")] = True,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="For index.html, report.json, plots, pictures; goes on after Ctrl-C."),
    ] = None,
) -> None:
    """Measure a model: real bitstreams at every rate point, decoded from their bytes, beside conventional codecs.

    A rate point is a size of packets: 0 is the coarsest, fewest bytes. Prints a verdict and the tables as Markdown;
    with --output everything goes into a folder, too: open its index.html. On two cores a pair takes about half a
    minute, as it is decoded at every rate point, in every number of steps, with every ablation, and coded by all
    codecs; --quick takes a minute in all. The same command goes on where it was stopped, and runs on several GPUs
    under `accelerate launch`.

    Examples:

        mdic eval sample/street --quick

        mdic eval DEV --steps 1,2,4,10 --output report

        accelerate launch --num_processes 4 -m mdic_ros.cli eval DEV --output report
    """
    counts = parse_steps(steps or ("1" if quick else "1,4"))
    from mdic_ros.datasets import find_recordings
    from mdic_ros.extras import need

    find_recordings(data, "test")  # raises before anything heavy is loaded
    need("eval")
    from mdic_ros.evaluation.report import markdown, write
    from mdic_ros.evaluation.run import Options, run

    options = Options(
        protocol,
        counts,
        limit,
        both_orders,
        ablations and not quick,
        anchors and not quick,
        weights,
        _QUICK_PAIRS if quick else None,
    )
    try:
        evaluation = run(data, model, options, output, shlex.join(["mdic", *sys.argv[1:]]), lambda t: Progress(t, ""))
    except KeyboardInterrupt:
        say(_stopped(output))
        raise typer.Exit(130) from None
    if evaluation is None:  # a process that only helps
        return
    if output is not None:
        write(evaluation, output)
        say(f"{output / 'index.html'} has it all")
    typer.echo(markdown(evaluation.report))


def _stopped(output: Path | None) -> str:
    """What a Ctrl-C leaves, and how to go on."""
    if output is None:
        return "stopped; nothing was kept. With --output FOLDER the same command goes on where it was stopped"
    kept = sum(file.read_bytes().count(b"\n") for file in output.glob("rows*.jsonl"))
    return f"stopped; the figures of {kept} pictures are kept in {output}: the same command goes on from there"
