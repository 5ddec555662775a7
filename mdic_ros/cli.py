"""The `mdic` command. Everything heavy is imported inside the commands, so that `mdic --help` is quick."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from .offline import Summary

app = typer.Typer(
    name="mdic",
    help="Distributed image compression for stereo cameras: a few hundred bytes a frame, decoded with "
    "the picture of the other camera.",
    epilog="A recording is KITTI raw, odometry, stereo 2012 or 2015, Cityscapes, a folder with left and right, a bag.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
bag_app = typer.Typer(help="Write stereo recordings as rosbag2, look into bags.", no_args_is_help=True)
app.add_typer(bag_app, name="bag")


# --- what the commands share --------------------------------------------------------------------------------


class Storage(StrEnum):
    """File formats of rosbag2."""

    mcap = "mcap"
    sqlite3 = "sqlite3"


class Images(StrEnum):
    """Forms of images in a bag."""

    raw = "raw"
    png = "png"
    jpeg = "jpeg"


class Layout(StrEnum):
    """Layouts of recordings."""

    auto = "auto"
    kitti_raw = "kitti_raw"
    kitti_odometry = "kitti_odometry"
    kitti_stereo = "kitti_stereo"
    cityscapes = "cityscapes"
    folder = "folder"
    bag = "bag"


class Cameras(StrEnum):
    """KITTI's two stereo pairs."""

    auto = "auto"
    color = "color"
    gray = "gray"


class View(StrEnum):
    """The cameras of a stereo pair."""

    left = "left"
    right = "right"


class UsageError(ValueError):
    """Options that do not go together, or do not fit the input."""


LayoutOption = Annotated[Layout, typer.Option(help="Layout of the recording; auto looks at its files.")]
CamerasOption = Annotated[Cameras, typer.Option(help="KITTI: which pair; auto takes colour where there is colour.")]
LeftOption = Annotated[str | None, typer.Option(metavar="TOPIC", help="Bag: image topic of the left camera.")]
RightOption = Annotated[str | None, typer.Option(metavar="TOPIC", help="Bag: image topic of the right camera.")]
StorageOption = Annotated[Storage, typer.Option(help="File format of the bag that is written.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace the output if it is there already.")]
ModelOption = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Model bundle; without it, the one that ships.")
]
DeviceOption = Annotated[str, typer.Option(help="Where the network runs: cpu, cuda, cuda:1 ...")]
SlopOption = Annotated[
    float, typer.Option(metavar="SECONDS", min=0, help="Bag: largest time between two images of a pair.")
]


def _console() -> Any:
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def _say(text: str) -> None:
    """A line for people, on stderr and without markup: file names may hold brackets."""
    _console().print(text, markup=False)


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on stderr; yields a function of (done, total), None = unknown."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = _console()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _report_failures(failures: Sequence[str]) -> None:
    """The first few sentences about frames that are not in the output."""
    for sentence in failures[:5]:
        _say(f"  left out: {sentence}")
    if len(failures) > 5:
        _say(f"  ... and {len(failures) - 5} more")


def _new_file(path: Path, force: bool) -> None:
    if path.is_dir():
        raise UsageError(f"{path} is a folder, the output is a file")
    if path.exists() and not force:
        raise UsageError(f"{path} exists; choose another name, or --force to replace it")


def _write_file(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _parse_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise typer.BadParameter(f"'{text}' is not a size like 128x256 (height x width)", param_hint="--size")
    return int(height), int(width)


def _parse_steps(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() and 1 <= int(part) <= 1000 for part in parts):
        raise typer.BadParameter(f"'{text}' is not a list of steps like 1,2,4 (1 to 1000 each)", param_hint="--steps")
    return tuple(sorted({int(part) for part in parts}))


def _parse_device(text: str) -> str:
    import torch

    try:
        torch.empty(1, device=text)
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without CUDA
        there = torch.cuda.device_count()
        hint = f"take cpu or cuda:0 to cuda:{there - 1}" if there else "torch finds no CUDA here, take cpu"
        raise typer.BadParameter(f"'{text}' is no device of this machine; {hint}", param_hint="--device") from error
    return text


def _is_image(path: Path) -> bool:
    from .datasets.images import IMAGE_SUFFIXES

    return path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES


# --- mdic bag -----------------------------------------------------------------------------------------------


@bag_app.command("write")
def bag_write(
    source: Annotated[Path, typer.Argument(help="Recording, e.g. 2011_09_26/2011_09_26_drive_0005_sync.")],
    output: Annotated[Path, typer.Argument(help="Folder of the bag to write.")],
    layout: LayoutOption = Layout.auto,
    cameras: CamerasOption = Cameras.auto,
    images: Annotated[
        Images, typer.Option(help="raw: sensor_msgs/Image. png (lossless), jpeg: CompressedImage.")
    ] = Images.raw,
    storage: StorageOption = Storage.mcap,
    rate: Annotated[float, typer.Option(metavar="HZ", min=0.001, help="Folder: frame rate, for the stamps.")] = 10.0,
    left_topic: LeftOption = None,
    right_topic: RightOption = None,
    side_slop: SlopOption = 0.03,
    force: ForceOption = False,
) -> None:
    """Write a stereo recording as a rosbag2, under the topic and frame names that users of KITTI expect.

    Stamps are those of the recording, of each camera its own. camera_info describes the rectified images: no
    distortion. Nothing is written if anything fails; a single damaged image is left out and reported.

    Examples:

        mdic bag write 2011_09_26/2011_09_26_drive_0005_sync drive5

        mdic bag write dataset/sequences/00 seq00 --images png --storage sqlite3

        mdic bag write my_pairs street      (a folder with left/000.png ..., right/000.png ...)
    """
    from .datasets import open_stereo, write_bag

    with open_stereo(
        source,
        layout.value,
        cameras=cameras.value,
        left_topic=left_topic,
        right_topic=right_topic,
        slop_s=side_slop,
        rate_hz=rate,
    ) as recording:
        total = len(recording)
        with _progress(f"writing {output.name}") as bar:
            written = write_bag(
                recording,
                output,
                storage=storage.value,
                images=images.value,
                overwrite=force,
                progress=lambda done: bar(done, total),
            )
    _report_failures(written.broken)
    left_out = f", {len(written.broken)} left out" if written.broken else ""
    _say(f"{output}: {written.frames} frames of {recording.layout}{left_out}")


@bag_app.command("info")
def bag_info(
    bag: Annotated[Path, typer.Argument(help="A rosbag2: its folder, or an .mcap or .db3 file.")],
    left_topic: LeftOption = None,
    right_topic: RightOption = None,
    side_slop: SlopOption = 0.03,
) -> None:
    """Show the topics of a bag, its times, how its stereo images pair, and the rate of coded streams.

    Example:

        mdic bag info drive5
    """
    from .describe import describe_bag

    describe_bag(bag, left_topic, right_topic, side_slop)


# --- mdic encode, mdic decode -------------------------------------------------------------------------------


@app.command()
def encode(
    source: Annotated[Path, typer.Argument(help="An image, or a stereo recording.")],
    output: Annotated[Path, typer.Argument(help="The packet (.mdic) of the image, or the bag of the recording.")],
    rate_point: Annotated[
        int | None, typer.Option(min=0, help="0 is the coarsest; without it the finest of the model.")
    ] = None,
    max_bytes: Annotated[
        int | None, typer.Option(min=1, help="No packet larger than this: the finest rate point that fits.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Resize to height x width first, e.g. 128x256.")
    ] = None,
    view: Annotated[
        View, typer.Option(help="Which camera of the pair is coded; the other one's image is the side image.")
    ] = View.left,
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    layout: LayoutOption = Layout.auto,
    cameras: CamerasOption = Cameras.auto,
    left_topic: LeftOption = None,
    right_topic: RightOption = None,
    side_slop: SlopOption = 0.03,
    storage: StorageOption = Storage.mcap,
    force: ForceOption = False,
) -> None:
    """Encode an image into a packet, or one camera of a recording into a bag with Bitstream messages.

    The bag also holds the other camera's images, untouched, so that `mdic decode` has its side images. The
    same input gives the same packets, byte for byte, however fast the machine is.

    Examples:

        mdic encode left.png left.mdic --size 128x256

        mdic encode 2011_09_26/2011_09_26_drive_0005_sync coded --size 128x416 --max-bytes 200

        mdic encode drive5 coded --rate-point 1      (drive5 is a bag)
    """
    coded_size = _parse_size(size)
    if _is_image(source):
        _new_file(output, force)
    else:
        from .datasets import detect_layout
        from .datasets.bag import check_output

        if layout is Layout.auto:
            detect_layout(source)
        check_output(output, force)

    from .codec import Encoder

    encoder = Encoder.from_pretrained(model, device=_parse_device(device))
    if rate_point is not None and rate_point >= encoder.rate_points:
        raise UsageError(f"--rate-point {rate_point}: {encoder.model_id} has 0 to {encoder.rate_points - 1}")
    if _is_image(source):
        from .datasets.images import read_image, resize_image

        image = read_image(source)
        image = resize_image(image, *(coded_size or image.shape[:2]))
        packet = encoder.encode(image, rate_point=rate_point, max_bytes=max_bytes, view=view.value)
        _write_file(output, packet)
        height, width = image.shape[:2]
        _say(f"{output}: {len(packet)} bytes, {8 * len(packet) / (height * width):.4f} bpp at {width}x{height}")
        return

    from .offline import EncodeOptions, encode_recording

    with _progress(f"encoding {source.name}") as bar:
        summary = encode_recording(
            source,
            output,
            encoder,
            EncodeOptions(rate_point, max_bytes, coded_size, view.value),
            storage=storage.value,
            overwrite=force,
            progress=bar,
            layout=layout.value,
            cameras=cameras.value,
            left_topic=left_topic,
            right_topic=right_topic,
            slop_s=side_slop,
        )
    _report_summary(output, summary)


@app.command()
def decode(
    source: Annotated[Path, typer.Argument(help="A packet (.mdic), or a bag that `mdic encode` wrote.")],
    output: Annotated[Path, typer.Argument(help="The picture (.png), or the bag with the pictures.")],
    side: Annotated[
        str | None,
        typer.Option(metavar="IMAGE|TOPIC", help="The other camera's image; for a bag, its topic if not found."),
    ] = None,
    steps: Annotated[
        int,
        typer.Option(min=1, help="Diffusion steps: 1 is closest to the original, 2 and more are sharp."),
    ] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise; another seed, another picture.")] = 0,
    caption: Annotated[
        str | None,
        typer.Option(help='Sentence to guide the picture instead of the captioner\'s; "" for none.'),
    ] = None,
    side_slop: SlopOption = 0.03,
    rectify: Annotated[
        bool, typer.Option(help="Bag: measure by how many rows the cameras are off, on ten frames, and correct it.")
    ] = True,
    topic: Annotated[str | None, typer.Option(help="Bag: the Bitstream topic, if there are several.")] = None,
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    storage: StorageOption = Storage.mcap,
    force: ForceOption = False,
) -> None:
    """Decode a packet with the other camera's image into a picture, or a bag of packets into one of pictures.

    The bag gets image_reconstructed, mask (white where the side image shares the scene), camera_info and
    report in the namespace of the coded camera. Without a side image decoding works too, and looks worse.

    Examples:

        mdic decode left.mdic decoded.png --side right.png

        mdic decode coded decoded --steps 4

        mdic decode left.mdic other.png --side right.png --caption "a snowy street at night"
    """
    from .datasets.bag import check_output, is_bag
    from .describe import read_packet

    if is_bag(source):
        check_output(output, force)
    else:
        if source.is_dir():
            raise UsageError(f"{source} is neither a packet nor a bag (no metadata.yaml in it)")
        if output.suffix.lower() != ".png":
            raise UsageError(f"{output}: pictures are written as .png, name the output so")
        _new_file(output, force)
        packet = read_packet(source)

    from .codec import Decoder

    decoder = Decoder.from_pretrained(model, device=_parse_device(device))
    if is_bag(source):
        from .offline import DecodeOptions, decode_bag

        options = DecodeOptions(steps, seed, caption, slop_s=side_slop, rectify=rectify)
        with _progress(f"decoding {source.name}") as bar:
            summary = decode_bag(
                source,
                output,
                decoder,
                options,
                topic=topic,
                side=side,
                storage=storage.value,
                overwrite=force,
                progress=bar,
            )
        _report_summary(output, summary)
        return

    from .codec import inspect
    from .datasets.images import encode_image, read_image, resize_image

    info = inspect(packet)
    image = read_image(Path(side)) if side else None
    if image is not None and image.shape[:2] != (info.height, info.width):
        _say(f"the side image, {image.shape[1]}x{image.shape[0]}, is scaled to the coded {info.width}x{info.height}")
        image = resize_image(image, info.height, info.width)
    result = decoder.decode(packet, image, caption=caption, steps=steps, seed=seed)
    _write_file(output, encode_image(result.image, "png"))
    cut = ", cut on its way" if result.cut else ""
    described = f', "{result.caption}"' if result.caption else ""
    _say(f"{output}: {info.width}x{info.height}, rate point {result.rate_point}{cut}{described}")
    if image is None:
        _say("decoded without a side image; --side gives it one")


def _report_summary(output: Path, summary: Summary) -> None:
    _report_failures(summary.failures)
    counts = {point: summary.rate_points.count(point) for point in sorted(set(summary.rate_points))}
    points = ", ".join(f"{count} at rate point {point}" for point, count in counts.items())
    left_out = f"; {len(summary.failures)} problems" if summary.failures else ""
    alone = f"; {summary.without_side} without side image" if summary.without_side else ""
    _say(
        f"{output}: {len(summary.sizes)} frames ({points}), {summary.mean_bytes:.1f} bytes a frame, "
        f"{summary.bpp:.4f} bpp, {summary.kbps:.2f} kbit/s{alone}{left_out}"
    )


# --- mdic info ----------------------------------------------------------------------------------------------


@app.command()
def info(
    path: Annotated[Path, typer.Argument(help="A packet (.mdic), a model bundle, or a bag.")],
) -> None:
    """Say what a packet, a model bundle or a bag holds.

    Examples:

        mdic info left.mdic

        mdic info models/mdic_tiny

        mdic info coded
    """
    from .datasets.bag import is_bag
    from .describe import describe_bag, describe_bundle, describe_packet

    if is_bag(path):
        describe_bag(path)
    elif (path / "model_index.json").is_file():
        describe_bundle(path)
    elif path.is_dir():
        raise UsageError(f"{path} is neither a model bundle (no model_index.json) nor a bag (no metadata.yaml)")
    else:
        describe_packet(path)


class Stage(StrEnum):
    """Training stages, in the order in which a bundle needs them; or all of them."""

    all = "all"
    autoencoder = "autoencoder"
    codec = "codec"
    realism = "realism"
    captioner = "captioner"
    prior = "prior"


@app.command("eval")
def evaluate(
    data: Annotated[Path, typer.Argument(help="A recording, or a folder of recordings (one per drive).")],
    model: ModelOption = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            metavar="kitti|cityscapes|native|HxW",
            help="Which pixels are coded. kitti: centre crop 370x740 resized to 128x256, as in the paper; cityscapes: "
            "the whole image resized to 128x256; native: as they are; HxW: the whole image resized. Without it "
            "cityscapes for its layout, else kitti. The filter is bicubic (the paper's is "
            "bilinear: about 0.5 dB easier).",
        ),
    ] = None,
    steps: Annotated[
        str,
        typer.Option(
            metavar="N,N,...",
            help="Denoising steps to decode in; ablations take the fewest. Ten take long, so they are not among the "
            "default; 1,2,4,10 shows what steps are worth.",
        ),
    ] = "1,4",
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Backbones of LPIPS, FID ...; without it the report says what is missing."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many frames of each recording, of Cityscapes of each city.")
    ] = None,
    both_orders: Annotated[
        bool, typer.Option("--both-orders", help="Code the right image with the left one, too, as the paper does.")
    ] = False,
    ablations: Annotated[bool, typer.Option(help="Also decode with something left out or exchanged.")] = True,
    anchors: Annotated[bool, typer.Option(help="Also code with JPEG, WebP, AVIF, HEVC ...")] = True,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="For index.html, report.json, plots, pictures; goes on after Ctrl-C."),
    ] = None,
) -> None:
    """Measure a bundle: real bitstreams at every rate point, decoded from their bytes, beside conventional codecs.

    Prints the tables as Markdown. With --output everything goes into a folder, too: open its index.html. The same
    command goes on where it was stopped, and runs on several GPUs under `accelerate launch`.

    Examples:

        mdic eval DEV --steps 1,2,4,10 --output report

        mdic eval DRIVE --protocol native --no-anchors --no-ablations --limit 2

        accelerate launch --num_processes 4 -m mdic_ros.cli eval DEV --output report
    """
    import shlex

    counts = _parse_steps(steps)
    try:
        from .evaluation.report import markdown, write
        from .evaluation.run import Options, run
    except ModuleNotFoundError as error:
        raise UsageError(f"evaluation needs {error.name}: pip install 'mdic_ros[eval]'") from error

    options = Options(protocol, counts, limit, both_orders, ablations, anchors, weights)
    evaluation = run(data, model, options, output, shlex.join(["mdic", *sys.argv[1:]]), _progress)
    if evaluation is None:  # a process that only helps
        return
    if output is not None:
        write(evaluation, output)
        _say(f"{output / 'index.html'} has it all")
    typer.echo(markdown(evaluation.report))


# --- mdic bench ---------------------------------------------------------------------------------------------


@app.command()
def bench(
    model: ModelOption = None,
    size: Annotated[
        list[str] | None,
        typer.Option(metavar="HxW", help="Size to code, repeatable; without it 128x256, 256x512 and 375x1242."),
    ] = None,
    steps: Annotated[str, typer.Option(metavar="N,N,...", help="Denoising steps to decode in.")] = "1,2,4,10",
    device: DeviceOption = "cpu",
    frames: Annotated[int, typer.Option(min=1, help="Frames that each figure is made of.")] = 20,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; without it as many as torch takes.")] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="JSON file for all figures and what made them.")
    ] = None,
    force: ForceOption = False,
) -> None:
    """Measure how long encoding and decoding take on this machine, stage by stage, and the memory of either.

    Pictures are those of the sample drive. A machine that does other things meanwhile shows in the 95th percentile.
    Ten steps at 375x1242 take seconds a frame on a CPU: ask for fewer --frames.

    Examples:

        mdic bench --size 128x256 --steps 1

        mdic bench --device cuda --output bench.json
    """
    import json
    import shlex

    options: dict[str, Any] = {"steps": _parse_steps(steps), "frames": frames, "threads": threads}
    if size:
        options["sizes"] = tuple(parsed for text in dict.fromkeys(size) if (parsed := _parse_size(text)))
    if output is not None:
        _new_file(output, force)
    options["device"] = _parse_device(device)

    from .evaluation.bench import Options, markdown, run

    with _progress("measuring") as progress:
        report = run(model, Options(**options), progress)
    report["command"] = shlex.join(["mdic", *sys.argv[1:]])
    if output is not None:
        _write_file(output, (json.dumps(report, indent=1) + "\n").encode())
    typer.echo(markdown(report))


# --- mdic pack, mdic train ----------------------------------------------------------------------------------


@app.command()
def pack(
    data: Annotated[list[Path], typer.Argument(help="Training folders, recordings, folders of them, other packs.")],
    output: Annotated[Path, typer.Argument(help="The pack, a .zip file.")],
    height: Annotated[int, typer.Option(min=64, help="Images with more rows are shrunk to so many.")] = 256,
    max_mb: Annotated[float, typer.Option(min=0.01, help="Size of the file, at most, in megabytes.")] = 60.0,
    folder: Annotated[
        list[str] | None,
        typer.Option(help="Folder below DATA/stereo, repeatable; without it, those whose names start with train."),
    ] = None,
    force: ForceOption = False,
) -> None:
    """Pack stereo pairs and their captions into one file of at most so many megabytes, for `mdic train --data`.

    Each recording becomes a drive. The images are WebP in the best quality that fits. Unpacked (it is a zip file), it
    is a training folder.

    Examples:

        mdic pack DATA pairs.zip                        (DATA/stereo/train*/DRIVE/left and right, DATA/captions.jsonl)

        mdic pack 2011_09_26 drive5 pairs.zip --height 320 --max-mb 200      (KITTI's day, and a bag)
    """
    _new_file(output, force)
    try:
        from .training.pack import pack as write_pack
    except ModuleNotFoundError as error:
        raise UsageError(f"packing needs {error.name}: pip install 'mdic_ros[train]'") from error

    with _progress(f"packing {output.name}") as bar:
        packed = write_pack(
            data, output, folders=folder or (), height=height, max_bytes=round(max_mb * 1e6), progress=bar
        )
    _report_failures(packed.broken)
    _say(
        f"{output}: {packed.pairs} pairs of {packed.drives} drives, {packed.captions} captions, "
        f"{packed.bytes / 1e6:.1f} MB at quality {packed.quality}"
    )


@app.command()
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
        float | None, typer.Option(min=0.01, help="Wall-clock budget instead of the YAML's; with all, for all of it.")
    ] = None,
    hold_out: Annotated[
        list[str] | None, typer.Option(help="Drive to validate on instead of the YAML's, repeatable.")
    ] = None,
) -> None:
    """Train a bundle. Ctrl-C saves; the same command goes on from there, exactly.

    Uses a GPU if there is one; several under `accelerate launch`. Watch it with `tensorboard --logdir OUT`, or in
    OUT/train.csv, OUT/validation.csv and OUT/pictures.

    Examples:

        mdic train all --data pairs.zip --bundle my_model --out runs/all --minutes 25

        mdic train codec --data DATA --bundle my_model --out runs/codec --config my_codec.yaml

        accelerate launch --num_processes 4 -m mdic_ros.cli train all --data DATA --bundle my_model --out runs/all
    """
    from .resources import resource

    try:
        from .training.budget import train_all
        from .training.sources import TrainingData
        from .training.stages import train as train_one
    except ModuleNotFoundError as error:
        raise UsageError(f"training needs {error.name}: pip install 'mdic_ros[train]'") from error

    yaml_file = config or resource(f"config/train/{stage.value}.yaml")
    with TrainingData(data, hold_out or (), out / "disparities.npz") as pairs:
        if stage is Stage.all:
            fingerprint, done = train_all(yaml_file, pairs, out, bundle, minutes)
        else:
            fingerprint, done = train_one(stage.value, yaml_file, pairs, out, bundle, minutes)
    if not done:
        _say(f"stopped; the same command goes on from {out}")
        raise typer.Exit(130)
    if fingerprint is None:
        _say(f"{stage.value} is in {bundle}; the bundle is whole once all stages have run")
    else:
        _say(f"{bundle} is a whole bundle, fingerprint {fingerprint}")


# --- the command itself -------------------------------------------------------------------------------------


class _Warnings(logging.Handler):
    """Warnings of this package as lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        _say(f"{record.levelname.lower()}: {record.getMessage()}")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `mdic`; exits with 0, 1 when the job could not be done, 2 when the call makes no sense."""
    logger = logging.getLogger("mdic_ros")
    handler = _Warnings(logging.WARNING)
    logger.addHandler(handler)
    try:
        app(args=None if arguments is None else list(arguments), prog_name="mdic")
    except UsageError as error:
        _say(f"error: {error}")
        sys.exit(2)
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(130)
    except OSError as error:
        _say(f"error: {error.filename or ''}: {error.strerror or error}".replace("error: : ", "error: "))
        sys.exit(1)
    # Of our own kinds: DatasetError, BitstreamError, a bundle that is not one, a training that went astray ...
    except (ValueError, FloatingPointError) as error:
        _say(f"error: {error}")
        sys.exit(1)
    finally:
        logger.removeHandler(handler)
    sys.exit(0)


if __name__ == "__main__":
    main()
