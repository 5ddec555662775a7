"""`mdic bag`: recordings into bags, bags into pictures, and what a bag holds."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mdic_ros.cli.console import report_failures, say
from mdic_ros.cli.files import check_new_bag, check_new_folder
from mdic_ros.cli.options import (
    Cameras,
    CamerasOption,
    ForceOption,
    LayoutOption,
    LeftOption,
    RectifyImagesOption,
    RightOption,
    SizeOption,
    SlopOption,
    Storage,
    StorageOption,
    parse_size,
)
from mdic_ros.progress import Progress


class Form(StrEnum):
    """Forms of images in a bag."""

    raw = "raw"
    png = "png"
    jpeg = "jpeg"


class FileForm(StrEnum):
    """Forms of image files."""

    png = "png"
    jpeg = "jpeg"


def write(
    source: Annotated[Path, typer.Argument(help="Recording, e.g. 2011_09_26/2011_09_26_drive_0005_sync.")],
    output: Annotated[Path, typer.Argument(help="Folder of the bag to write.")],
    layout: LayoutOption = "auto",
    cameras: CamerasOption = Cameras.auto,
    images: Annotated[
        Form, typer.Option(help="raw: sensor_msgs/Image. png (lossless), jpeg: CompressedImage.")
    ] = Form.raw,
    storage: StorageOption = Storage.mcap,
    rate: Annotated[float, typer.Option(metavar="HZ", min=0.001, help="Folder: frame rate, for the stamps.")] = 10.0,
    left_topic: LeftOption = None,
    right_topic: RightOption = None,
    side_slop: SlopOption = 0.03,
    rectify_images: RectifyImagesOption = None,
    force: ForceOption = False,
) -> None:
    """Write a stereo recording as a rosbag2, under the topic and frame names that users of KITTI expect.

    Stamps are those of the recording, of each camera its own. camera_info describes the rectified images: no
    distortion. If anything fails, nothing is written; a single damaged image is left out and reported.

    Examples:

        mdic bag write 2011_09_26/2011_09_26_drive_0005_sync drive5

        mdic bag write dataset/sequences/00 seq00 --images png --storage sqlite3

        mdic bag write my_pairs street      (a folder with left/000.png ..., right/000.png ...)
    """
    from mdic_ros.datasets import open_stereo, write_bag

    check_new_bag(output, force, source)
    with open_stereo(
        source,
        layout,
        cameras=cameras.value,
        left_topic=left_topic,
        right_topic=right_topic,
        slop_s=side_slop,
        rate_hz=rate,
        rectify_images=rectify_images,
    ) as recording:
        total = len(recording)
        with Progress(f"writing {output.name}") as progress:
            written = write_bag(
                recording,
                output,
                storage=storage.value,
                images=images.value,
                overwrite=force,
                progress=lambda done: progress(done, total),
            )
    report_failures(written.broken)
    left_out = f", {len(written.broken)} left out" if written.broken else ""
    alone = f", {written.unpaired.total} images without a partner left out" if written.unpaired.total else ""
    say(f"{output}: {written.frames} frames of {recording.layout}{left_out}{alone}")


def images(
    source: Annotated[Path, typer.Argument(help="A bag, or any other recording.")],
    output: Annotated[Path, typer.Argument(help="Folder to write the pictures into.")],
    images: Annotated[FileForm, typer.Option(help="png is lossless, jpeg smaller.")] = FileForm.png,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the first N frames.")] = None,
    size: SizeOption = None,
    topic: Annotated[
        list[str] | None,
        typer.Option(help="Bag: this topic alone instead of the stereo pair; may be given several times."),
    ] = None,
    layout: LayoutOption = "auto",
    cameras: CamerasOption = Cameras.auto,
    left_topic: LeftOption = None,
    right_topic: RightOption = None,
    side_slop: SlopOption = 0.03,
    rectify_images: RectifyImagesOption = None,
    force: ForceOption = False,
) -> None:
    """Write the images of a bag or another recording as files.

    A stereo recording becomes a folder with left/ and right/, the two images of a pair under one name: such a folder
    is a recording, too. Of a bag without stereo pairs, such as `mdic decode` writes, every image topic becomes a
    folder, whose files are named by their stamps in nanoseconds.

    Examples:

        mdic bag images sample/street pairs --limit 5

        mdic bag images decoded pictures --topic /stereo/left/image_reconstructed
    """
    from mdic_ros.cli.pictures import has_pair, write_pairs, write_topics
    from mdic_ros.datasets import open_stereo
    from mdic_ros.datasets.bag import is_bag

    check_new_folder(output, force, source)
    coded_size = parse_size(size) if size else None
    with Progress(f"writing {output.name}", "images") as progress:
        if topic or (is_bag(source) and not (left_topic or right_topic or has_pair(source))):
            written, broken = write_topics(source, output, topic, images.value, limit, coded_size, progress)
        else:
            with open_stereo(
                source,
                layout,
                cameras=cameras.value,
                left_topic=left_topic,
                right_topic=right_topic,
                slop_s=side_slop,
                rectify_images=rectify_images,
            ) as recording:
                written, broken = write_pairs(recording, output, images.value, limit, coded_size, progress)
    report_failures(broken)
    folders = ", ".join(f"{count} in {folder}" for folder, count in written.items())
    say(f"{output}: {sum(written.values())} images ({folders})")


def info(
    bag: Annotated[Path, typer.Argument(help="A rosbag2: its folder, or an .mcap or .db3 file.")],
    left_topic: LeftOption = None,
    right_topic: RightOption = None,
    side_slop: SlopOption = 0.03,
) -> None:
    """Show the topics of a bag, its times, how its stereo images pair, and the rate of coded streams.

    Example:

        mdic bag info drive5
    """
    from mdic_ros.cli.describe import describe_bag

    describe_bag(bag, left_topic, right_topic, side_slop)
