"""What the readers of benchmarks share whose frames are single moments: KITTI stereo and Cityscapes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from mdic_ros.datasets.calibration import CameraInfo
from mdic_ros.datasets.files import ImagePair
from mdic_ros.datasets.stereo import SYNTHETIC_START_NS, StereoFrame
from mdic_ros.errors import ImageError

log = logging.getLogger(__name__)

Infos = tuple[CameraInfo, CameraInfo]  #: calibrations of the left and the right camera


def make_frames(
    split: Path,
    pairs: Iterable[ImagePair],
    infos_of: Callable[[ImagePair], Infos | None],
    reference: Callable[[ImagePair], bool] = lambda pair: True,
) -> list[StereoFrame]:
    """The frames of a split, each with a calibration of its own. A warning tells how many have none.

    A frame's scene is its name up to the first underscore. There are no times: stamps are 10 Hz from
    `SYNTHETIC_START_NS` in the order of the pairs.

    Args:
        split: their folder, for messages.
        pairs: the image files.
        infos_of: reads the calibration of a pair, None if there is no file; raises ImageError if the image is damaged.
        reference: see `StereoFrame.reference`.
    """
    frames: list[StereoFrame] = []
    missing = 0
    for index, pair in enumerate(pairs):
        infos = None
        with suppress(ImageError):  # loading the damaged image will report it
            infos = infos_of(pair)
        missing += infos is None
        stamp = SYNTHETIC_START_NS + index * 100_000_000
        left, right = infos or (None, None)
        scene = pair.name.partition("_")[0]
        frames.append(StereoFrame.of_files(pair, stamp, stamp, left, right, scene=scene, reference=reference(pair)))
    if missing:
        log.warning("%s: %d of %d frames have no calibration file, so no camera_info", split, missing, len(frames))
    return frames
