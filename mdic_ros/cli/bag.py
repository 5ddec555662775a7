"""`mdic bag`: recordings into bags, bags into pictures, and what a bag holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mdic_ros.cli.console import counted, report_failures, say
from mdic_ros.cli.files import check_new_bag, check_new_folder
from mdic_ros.cli.limits import number, parse_size
from mdic_ros.cli.options import (
    CamerasOption,
    ForceOption,
    LayoutOption,
    LeftOption,
    RectifyImagesOption,
    RightOption,
    SizeOption,
    SlopOption,
    StorageOption,
    source_options,
)
from mdic_ros.progress import Progress


def write(
    source: Annotated[Path, typer.Argument(help="Recording, e.g. 2011_09_26/2011_09_26_drive_0005_sync.")],
    output: Annotated[Path, typer.Argument(help="Folder of the bag to write.")],
    layout: LayoutOption = "auto",
    cameras: CamerasOption = "auto",
    images: Annotated[
        Literal["raw", "png", "jpeg"],
        typer.Option(help="raw: sensor_msgs/Image. png (lossless), jpeg: CompressedImage."),
    ] = "raw",
    storage: StorageOption = "mcap",
    rate: Annotated[float, number("rate_hz", metavar="HZ", help="Folder: frame rate, for the stamps.")] = 10.0,
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
    options = source_options(layout, cameras, left_topic, right_topic, side_slop, rectify_images)
    with open_stereo(source, **options, rate_hz=rate) as recording:
        total = len(recording)
        with Progress(f"writing {output.name}") as progress:
            written = write_bag(
                recording,
                output,
                storage=storage,
                images=images,
                overwrite=force,
                progress=lambda done: progress(done, total),
            )
    report_failures(written.broken)
    left_out = f", {len(written.broken)} left out" if written.broken else ""
    alone = f", {written.unpaired.total} images without a partner left out" if written.unpaired.total else ""
    say(f"{output}: {counted(written.frames, 'frame')} of {recording.layout}{left_out}{alone}")


def images(
    source: Annotated[Path, typer.Argument(help="A bag, or any other recording.")],
    output: Annotated[Path, typer.Argument(help="Folder to write the pictures into.")],
    images: Annotated[Literal["png", "jpeg"], typer.Option(help="png is lossless, jpeg smaller.")] = "png",
    limit: Annotated[int | None, number("limit", metavar="N", help="Only the first N frames.")] = None,
    size: SizeOption = None,
    topic: Annotated[
        list[str] | None,
        typer.Option(help="Bag: this topic alone instead of the stereo pair; may be given several times."),
    ] = None,
    layout: LayoutOption = "auto",
    cameras: CamerasOption = "auto",
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
    from mdic_ros.cli.pictures import Folder, has_pair, write_pairs, write_topics
    from mdic_ros.datasets import open_stereo
    from mdic_ros.datasets.bag import is_bag

    check_new_folder(output, force, source)
    folder = Folder(output, images, parse_size(size) if size else None)
    options = source_options(layout, cameras, left_topic, right_topic, side_slop, rectify_images)
    with Progress(f"writing {output.name}", "images") as progress:
        if topic or (is_bag(source) and not (left_topic or right_topic or has_pair(source))):
            written, broken = write_topics(source, topic, folder, limit, progress)
        else:
            with open_stereo(source, **options) as recording:
                written, broken = write_pairs(recording, folder, limit, progress)
    report_failures(broken)
    for note in folder.notes:
        say(f"note: {note}")
    folders = ", ".join(f"{count} in {name}" for name, count in written.items())
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
