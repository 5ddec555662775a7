"""A stereo recording of any layout written as a rosbag2 file, under the names that its users expect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mdic_ros.datasets.bag_writer import BagWriter, Storage
from mdic_ros.datasets.errors import DatasetError
from mdic_ros.datasets.files import ALL_PAIRED, Unpaired
from mdic_ros.datasets.images import RGB, encode_image, stored_form
from mdic_ros.datasets.messages import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    make_camera_info,
    make_compressed_image,
    make_header,
    make_image,
)
from mdic_ros.datasets.stereo import Camera, StereoFrame, StereoSource
from mdic_ros.errors import ImageError

ImageForm = Literal["raw", "png", "jpeg"]


@dataclass
class Written:
    """What came of writing a bag.

    Attributes:
        frames: frames that are in it.
        broken: one sentence for each frame that could not be read and is not in it.
        unpaired: images of the recording that have no partner and are not in it.
    """

    frames: int = 0
    broken: list[str] = field(default_factory=list)
    unpaired: Unpaired = ALL_PAIRED


def image_message(
    header: Any, camera: Camera, image: RGB, form: ImageForm, file: Path | None = None, quality: int = 95
) -> tuple[str, Any]:
    """(topic, message) of one image. A file that has the wanted form is taken over byte by byte.

    Not so one that has to be turned by its EXIF orientation, which not every reader of such messages does.
    """
    if form == "raw":
        return camera.topic, make_image(header, image, camera.encoding)
    if file is not None and stored_form(file) == form:
        data = file.read_bytes()
    else:
        data = encode_image(image, form, quality)
    return f"{camera.topic}/compressed", make_compressed_image(header, form, data)


def write_camera(writer: BagWriter, camera: Camera, frame: StereoFrame, right: bool, form: ImageForm) -> None:
    """Write one camera's image and camera_info of a frame, both stamped with the time of that camera."""
    stamp = frame.right_stamp_ns if right else frame.stamp_ns
    image, file = (frame.right, frame.right_path) if right else (frame.left, frame.left_path)
    info = frame.right_info if right else frame.left_info
    header = make_header(stamp, camera.frame_id)
    writer.write(*image_message(header, camera, image, form, file), stamp)
    if info is not None:
        writer.write(f"{camera.namespace}/camera_info", make_camera_info(header, info), stamp)


def write_bag(
    source: StereoSource,
    path: Path,
    *,
    storage: Storage = "mcap",
    images: ImageForm = "raw",
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Written:
    """Write a recording as a bag.

    Args:
        source: from `mdic_ros.datasets.open_stereo`.
        path: folder of the bag; appears when it is complete.
        storage: `mcap` or `sqlite3`.
        images: `raw` for `sensor_msgs/Image` (bgr8, mono8), or `png` (lossless) or `jpeg` (quality
            95) for `sensor_msgs/CompressedImage` on `.../compressed`.
        overwrite: replace a bag that is there.
        progress: called after each frame with its index + 1.

    Returns:
        How many frames are in the bag, and which are not because an image of theirs is damaged.

    Raises:
        DatasetError: the bag cannot be written, or not one frame could be read.
    """
    result = Written(unpaired=source.unpaired)
    with BagWriter(path, storage=storage, overwrite=overwrite) as writer:
        for camera, infos in ((source.left, source.left_info), (source.right, source.right_info)):
            if images == "raw":
                writer.add_topic(camera.topic, IMAGE)
            else:
                writer.add_topic(f"{camera.topic}/compressed", COMPRESSED_IMAGE)
            if infos is not None:
                writer.add_topic(f"{camera.namespace}/camera_info", CAMERA_INFO)
        for index, frame in enumerate(source):
            try:
                frame.check()  # both or none: half a pair is of no use to anybody
            except ImageError as error:
                result.broken.append(f"frame {frame.name}: {error}")
            else:
                sides = [(frame.stamp_ns, False, source.left), (frame.right_stamp_ns, True, source.right)]
                for _, right, camera in sorted(sides, key=lambda side: side[:2]):
                    write_camera(writer, camera, frame, right, images)
                result.frames += 1
            if progress:
                progress(index + 1)
        if not result.frames:
            raise DatasetError(f"{source.path}: not one frame could be read; the first: {result.broken[0]}")
    return result
