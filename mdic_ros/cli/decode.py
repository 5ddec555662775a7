"""`mdic decode`: a packet into a picture, a bag of packets into a bag of pictures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from mdic_ros.cli.console import report_summary, say
from mdic_ros.cli.files import check_new_bag, check_new_file, read_packet, write_file
from mdic_ros.cli.limits import number, parse_size
from mdic_ros.cli.options import (
    DeviceOption,
    ForceOption,
    ModelOption,
    SlopOption,
    StorageOption,
    ThreadsOption,
)
from mdic_ros.codec.precision import Dtype

DtypeOption = Annotated[
    Dtype,
    typer.Option(help="Number format of the decoder's networks; auto takes the faster one that this machine has."),
]


def decode(
    source: Annotated[Path, typer.Argument(help="A packet (.mdic), or a bag that `mdic encode` wrote.")],
    output: Annotated[Path, typer.Argument(help="The picture (.png), or the bag with the pictures.")],
    side: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE|TOPIC",
            help="The side image: what the other camera saw at that moment. For a bag its topic, where the names of "
            "the topics do not tell.",
        ),
    ] = None,
    steps: Annotated[
        int,
        number("steps", help="Diffusion steps: 1 is closest to the original and soft, 2 and more are sharp."),
    ] = 1,
    seed: Annotated[int, number("seed", help="Seed of the noise; another seed, another picture.")] = 0,
    caption: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            help="Sentence to guide the picture. auto: the model's captioner describes the side image. none, or an "
            "empty text: no sentence.",
        ),
    ] = "auto",
    side_slop: SlopOption = 0.03,
    rectify: Annotated[
        bool, typer.Option(help="Bag: measure by how many rows the cameras are off, on ten frames, and correct it.")
    ] = True,
    topic: Annotated[str | None, typer.Option(help="Bag: the Bitstream topic, if there are several.")] = None,
    max_pixels: Annotated[
        str, typer.Option(metavar="HxW", help="Largest picture that is decoded unless StreamInfo announces its size.")
    ] = "1024x2048",
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 0,
    dtype: DtypeOption = "auto",
    storage: StorageOption = "mcap",
    force: ForceOption = False,
) -> None:
    """Decode a packet with the other camera's image into a picture, or a bag of packets into one of pictures.

    The bag gets image_reconstructed, mask (white where the decoder finds the side image to show the same scene),
    camera_info and report in the namespace of the coded camera. Without a side image decoding works too, and looks
    worse.

    Examples:

        mdic decode left.mdic decoded.png --side sample/right.png

        mdic decode coded decoded --steps 4

        mdic decode left.mdic other.png --side right.png --caption "a snowy street at night"
    """
    from mdic_ros.cli.offline import check_topics, decode_bag, decode_packet
    from mdic_ros.codec import Bundle, inspect
    from mdic_ros.datasets.bag import is_bag
    from mdic_ros.datasets.images import encode_image, read_image

    # Loading the decoder takes long, so the inputs are checked before.
    most_pixels = math.prod(parse_size(max_pixels, "--max-pixels"))
    if is_bag(source):
        check_new_bag(output, force, source)
        check_topics(source, topic, side)
    else:
        packet = read_packet(source)
        inspect(packet)
        check_new_file(output, force, ".png", (source, *([Path(side)] if side else [])))
        image = read_image(Path(side)) if side else None
    Bundle(model)

    from mdic_ros.codec import Decoder
    from mdic_ros.stream import DecodeSettings

    decoder = Decoder.from_pretrained(model, device=device, dtype=dtype, threads=threads)
    settings = DecodeSettings(
        steps,
        seed,
        caption,
        sync_slop_s=side_slop,
        rectify=rectify,
        max_pixels=most_pixels,
    )
    if is_bag(source):
        from mdic_ros.progress import Progress

        with Progress(f"decoding {source.name}") as progress:
            summary = decode_bag(
                source,
                output,
                decoder,
                settings,
                topic=topic,
                side=side,
                storage=storage,
                overwrite=force,
                progress=progress,
            )
        report_summary(output, summary)
        return

    picture = decode_packet(packet, image, decoder, settings, source.name)
    height, width = picture.image.shape[:2]
    if image is not None and image.shape[:2] != (height, width):
        say(f"the side image, {image.shape[0]}x{image.shape[1]}, is scaled to the coded {height}x{width}")
    write_file(output, encode_image(picture.image, "png"))
    report = picture.report
    cut = ", cut on its way" if report.cut else ""
    described = f', guided by "{report.caption}"' if report.caption else ""
    say(f"{output}: {height}x{width}, rate point {report.rate_point}{cut}{described}")
    if image is None:
        say("decoded without a side image, and much coarser for it; --side gives it one")
