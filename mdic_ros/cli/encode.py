"""`mdic encode`: an image into a packet, one camera of a recording into a bag of packets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mdic_ros.cli.console import report_summary, say
from mdic_ros.cli.files import check_new_bag, check_new_file, is_image, write_file
from mdic_ros.cli.limits import CODED, number, parse_size, squeeze_note
from mdic_ros.cli.options import (
    CamerasOption,
    DeviceOption,
    ForceOption,
    LayoutOption,
    LeftOption,
    ModelOption,
    RectifyImagesOption,
    RightOption,
    SizeOption,
    SlopOption,
    StorageOption,
    ThreadsOption,
    UsageError,
    source_options,
)
from mdic_ros.codec.bitstream import View
from mdic_ros.errors import MdicError


def encode(
    source: Annotated[Path, typer.Argument(help="An image, or a stereo recording.")],
    output: Annotated[Path, typer.Argument(help="The packet (.mdic) of the image, or the bag of the recording.")],
    rate_point: Annotated[
        int | None,
        number("rate_point", help="0 is the coarsest, with the fewest bytes; without it the finest of the model."),
    ] = None,
    max_bytes: Annotated[
        int | None, number("max_bytes", help="No packet larger than this: the finest rate point that fits.")
    ] = None,
    size: SizeOption = None,
    view: Annotated[View, typer.Option(help="Which camera is coded, as seen from behind them.")] = "left",
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 0,
    layout: LayoutOption = "auto",
    cameras: CamerasOption = "auto",
    left_topic: LeftOption = None,
    right_topic: RightOption = None,
    side_slop: SlopOption = 0.03,
    rectify_images: RectifyImagesOption = None,
    storage: StorageOption = "mcap",
    force: ForceOption = False,
) -> None:
    """Encode an image into a packet, or one camera of a recording into a bag with Bitstream messages.

    A packet holds one image, in 14 to about 400 bytes at 128x256. The rate point says how fine it is coded: a finer
    one takes more bytes and is closer to the image. The other camera's image is called the side image: it is not
    sent, and `mdic decode` needs it. So the bag holds the other camera's images, untouched. The same input gives the
    same packets, byte for byte.

    Examples:

        mdic encode sample/left.png left.mdic

        mdic encode right.png right.mdic --size 128x416 --view right

        mdic encode 2011_09_26/2011_09_26_drive_0005_sync coded --size 128x416 --max-bytes 200

        mdic encode drive5 coded --rate-point 1      (drive5 is a bag)
    """
    coded_size = parse_size(size, least=CODED) if size else None
    if is_image(source):
        from mdic_ros.datasets.images import read_image

        check_new_file(output, force, ".mdic", (source,))
        image = read_image(source)
    else:
        from mdic_ros.datasets import detect_layout
        from mdic_ros.datasets.bag import is_bag

        if layout == "auto":
            if source.is_file() and not is_bag(source):
                raise UsageError(f"{source} is neither an image (PNG, JPEG, WebP) nor a bag")
            detect_layout(source)
        check_new_bag(output, force, source)

    from mdic_ros.codec import Encoder

    encoder = Encoder.from_pretrained(model, device=device, threads=threads)
    if rate_point is not None and rate_point >= encoder.rate_points:
        raise UsageError(f"--rate-point {rate_point}: {encoder.model_id} has 0 to {encoder.rate_points - 1}")
    from mdic_ros.stream import EncodeSession, EncodeSettings, Refused

    settings = EncodeSettings(
        rate_point=-1 if rate_point is None else rate_point,
        max_bytes_per_frame=max_bytes or 0,
        coded_height=coded_size[0] if coded_size else 0,
        coded_width=coded_size[1] if coded_size else 0,
        view=view,
    )
    if is_image(source):
        frame = EncodeSession(encoder, settings).push(image, 1, 0.0)
        if isinstance(frame, Refused):
            raise MdicError(f"{source}: {frame.text}")
        write_file(output, frame.data)
        height, width = frame.size
        if note := squeeze_note(frame.size, image.shape[:2]):
            say(f"note: {note}")
        resized = f", resized from {image.shape[0]}x{image.shape[1]}" if image.shape[:2] != frame.size else ""
        say(
            f"{output}: {len(frame.data)} bytes for the {view} image at {height}x{width}{resized}, "
            f"{8 * len(frame.data) / (height * width):.4f} bits per pixel"
        )
        return

    from mdic_ros.cli.offline import encode_recording
    from mdic_ros.progress import Progress

    with Progress(f"encoding {source.name}") as progress:
        summary = encode_recording(
            source,
            output,
            encoder,
            settings,
            storage=storage,
            overwrite=force,
            progress=progress,
            **source_options(layout, cameras, left_topic, right_topic, side_slop, rectify_images),
        )
    report_summary(output, summary)
