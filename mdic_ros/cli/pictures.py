"""Images of recordings as files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mdic_ros.cli.files import write_file
from mdic_ros.cli.limits import squeeze_note
from mdic_ros.codec.images import Image, resize_image
from mdic_ros.datasets import DatasetError, StereoSource
from mdic_ros.datasets.bag import BagReader
from mdic_ros.datasets.bag_stereo import base_topic, image_topics, index_images, stereo_topics
from mdic_ros.datasets.images import encode_image
from mdic_ros.errors import ImageError
from mdic_ros.progress import Report

Form = Literal["png", "jpeg"]
_SUFFIXES: dict[str, str] = {"png": ".png", "jpeg": ".jpg"}


@dataclass(frozen=True)
class Folder:
    """Where images are written, and how.

    Attributes:
        path: the folder.
        form: of the files.
        size: (height, width) to resize to; None = as they are.
        notes: sentences about what was written, for the user.
    """

    path: Path
    form: Form
    size: tuple[int, int] | None = None
    notes: list[str] = field(default_factory=list)

    def write(self, name: str, image: Image) -> None:
        """Writes an image, H x W x 3 uint8 RGB; "/" in its name makes folders."""
        if self.size is not None:
            note = squeeze_note(self.size, image.shape[:2])
            if note and note not in self.notes:
                self.notes.append(note)
            image = resize_image(image, *self.size)
        write_file(self.path / (name + _SUFFIXES[self.form]), encode_image(image, self.form))


def write_pairs(
    recording: StereoSource, output: Folder, limit: int | None, progress: Report
) -> tuple[dict[str, int], list[str]]:
    """Writes left/NAME and right/NAME for every pair that can be read.

    Args:
        recording: from `open_stereo`.
        output: where to, and how.
        limit: number of frames, from the first; None = all.
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
                output.write(f"{side}/{frame.name.replace('/', '_')}", image)
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
    bag: Path, topics: Sequence[str] | None, output: Folder, limit: int | None, progress: Report
) -> tuple[dict[str, int], list[str]]:
    """Writes TOPIC/STAMP for the images of a bag's topics.

    Args:
        bag: the bag.
        topics: some of its image topics; None = all of them.
        output, limit, progress: as in `write_pairs`, `limit` for each topic.

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
                    output.write(f"{folder}/{stamp}", indexed[topic].load(index))
                    written[folder] += 1
                except ImageError as error:
                    broken.append(str(error))
                done += 1
                progress(done, total)
    if not written:
        raise DatasetError(f"{bag}: not one image could be read{': ' + broken[0] if broken else ''}")
    return dict(written), broken
