"""A recording as a bag that replay_node plays without being told how to read it."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

from mdic_ros.datasets import StereoSource
from mdic_ros.datasets.bag_writer import BagWriter
from mdic_ros.datasets.errors import DatasetError
from mdic_ros.datasets.export import write_camera
from mdic_ros.errors import ImageError


def write_frames(source: StereoSource, count: int, path: Path) -> None:
    """Write the first `count` frames, as `source` gives them, as a bag whose topics say which camera is which.

    A frame with a damaged image is left out, as replay_node does.

    Raises:
        DatasetError: the bag cannot be written, or not one frame could be read.
    """
    # The recording's own names may be such that only --left-topic and --right-topic tell the cameras apart.
    left, right = (
        replace(camera, topic=f"/stereo/{side}/image_raw")
        for side, camera in (("left", source.left), ("right", source.right))
    )
    written, problem = 0, ""
    with BagWriter(path) as writer:
        for frame in islice(source, count):
            try:
                frame.check()
            except ImageError as error:
                problem = problem or str(error)
                continue
            write_camera(writer, left, frame, False, "raw")
            write_camera(writer, right, frame, True, "raw")
            written += 1
        if not written:
            raise DatasetError(f"{source.path}: not one frame could be read; the first: {problem}")
