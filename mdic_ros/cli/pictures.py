"""Images of recordings as files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mdic_ros.cli.files import write_file
from mdic_ros.codec.images import Image, resize_image
from mdic_ros.datasets import DatasetError, StereoSource
from mdic_ros.datasets.bag import BagReader
from mdic_ros.datasets.bag_stereo import base_topic, image_topics, index_images, stereo_topics
from mdic_ros.datasets.images import encode_image
from mdic_ros.errors import ImageError
from mdic_ros.progress import Report

Form = Literal["png", "jpeg"]
_SUFFIXES: dict[str, str] = {"png": ".png", "jpeg": ".jpg"}


def write_pairs(
    recording: StereoSource,
    output: Path,
    form: Form,
    limit: int | None,
    size: tuple[int, int] | None,
    progress: Report,
) -> tuple[dict[str, int], list[str]]:
    """Writes output/left/NAME and output/right/NAME for every pair that can be read.

    Args:
        recording: from `open_stereo`.
        form: of the files.
        limit: number of frames, from the first; None = all.
        size: (height, width) to resize to; None = as they are.
        progress: called with (images done, images in all).

    Returns:
        The number of images by folder, and a sentence for each frame that is left out because it is damaged.

    Raises:
        DatasetError: not one pair could be read.
    """
    count = min(len(recording), limit or len(recording))
    written, broken = 0, []
    for index in range(count):
        frame = recording[index]
        try:
            frame.check()
        except ImageError as error:
            broken.append(f"frame {frame.name}: {error}")
        else:
            for side, image in (("left", frame.left), ("right", frame.right)):
                _write(output / side / frame.name.replace("/", "_"), image, form, size)
            written += 1
        progress(2 * (index + 1), 2 * count)
    if not written:
        raise DatasetError(f"{recording.path}: not one pair could be read; the first: {broken[0]}")
    return {"left": written, "right": written}, broken


def has_pair(bag: Path) -> bool:
    """Whether a bag has two image topics that look like a stereo pair, by their names."""
    with BagReader(bag) as reader:
        try:
            stereo_topics(reader.topics)
        except DatasetError:
            return False
    return True


def write_topics(
    bag: Path,
    output: Path,
    topics: Sequence[str] | None,
    form: Form,
    limit: int | None,
    size: tuple[int, int] | None,
    progress: Report,
) -> tuple[dict[str, int], list[str]]:
    """Writes output/TOPIC/STAMP for the images of a bag's topics, "/" in the topic's name being folders.

    Args:
        bag: the bag.
        topics: some of its image topics; None = all of them.
        form, limit, size, progress: as in `write_pairs`, `limit` for each topic.

    Returns:
        The number of images by folder, and a sentence for each image that is left out because it is damaged.

    Raises:
        DatasetError: no such topics, or not one image could be read.
    """
    with BagReader(bag) as reader:
        there = image_topics(reader.topics)
        if unknown := [topic for topic in topics or () if topic not in there]:
            raise DatasetError(
                f"{bag}: no images in topic {unknown[0]}; topics with images: {', '.join(there) or 'none'}"
            )
        if not there:
            raise DatasetError(f"{bag} has no images")
        chosen = list(topics or there)
        indexed = index_images(reader, chosen)
        total = sum(min(len(found.stamps), limit or len(found.stamps)) for found in indexed.values())
        written: Counter[str] = Counter()
        done, broken = 0, []
        for topic in chosen:
            folder = base_topic(topic).strip("/")
            for index, stamp in enumerate(indexed[topic].stamps[:limit]):
                try:
                    _write(output / folder / str(stamp), indexed[topic].load(index), form, size)
                    written[folder] += 1
                except ImageError as error:
                    broken.append(str(error))
                done += 1
                progress(done, total)
    if not written:
        raise DatasetError(f"{bag}: not one image could be read{': ' + broken[0] if broken else ''}")
    return dict(written), broken


def _write(path: Path, image: Image, form: Form, size: tuple[int, int] | None) -> None:
    if size is not None:
        image = resize_image(image, *size)
    write_file(path.with_name(path.name + _SUFFIXES[form]), encode_image(image, form))
