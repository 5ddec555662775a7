"""The evaluation protocols: which pixels are compared.

- kitti: MDIC's and NDIC's for KITTI, centre crop of 370x740, resized to 128x256
- cityscapes: MDIC's for Cityscapes, the whole frame resized to 128x256
- native: the whole frame as it is
- HEIGHTxWIDTH: the whole frame resized to that size, e.g. 256x512; nothing is cropped, so shapes may be stretched

The filter is bicubic. The paper's code resizes bilinearly, which blurs a little: its originals are about 0.5 dB easier.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
from PIL import Image

from mdic_ros.codec.bitstream import MAX_SIDE, MIN_HEIGHT, MIN_WIDTH
from mdic_ros.evaluation.errors import EvaluationError

NAMED = ("kitti", "cityscapes", "native")

_PAPER = (128, 256)
_CROP = (370, 740)
_TAKEN = f"the codec takes heights of {MIN_HEIGHT} to {MAX_SIDE} and widths of {MIN_WIDTH} to {MAX_SIDE} pixels"


def coded_size(protocol: str) -> tuple[int, int] | None:
    """Height and width that a protocol codes, None for "native", where they are the image's.

    Raises:
        EvaluationError: no such protocol, or a size that the codec cannot take.
    """
    if protocol == "native":
        return None
    if protocol in NAMED:
        return _PAPER
    size = re.fullmatch(r"(\d{1,6})x(\d{1,6})", protocol)
    if not size:
        raise EvaluationError(f"no protocol '{protocol}': take {', '.join(NAMED)}, or height x width like 256x512")
    height, width = int(size[1]), int(size[2])
    if not _fits(height, width):
        raise EvaluationError(f"cannot evaluate at {protocol}: {_TAKEN}")
    return height, width


def as_coded(image: npt.NDArray[np.uint8], protocol: str) -> npt.NDArray[np.uint8]:
    """The part of an image that a protocol codes, resized with a bicubic filter.

    Args:
        image: H x W x 3 uint8 RGB.
        protocol: see above.

    Raises:
        EvaluationError: no such protocol; the image is smaller than its crop, or of a size that the codec cannot take.
    """
    size = coded_size(protocol)
    height, width = image.shape[:2]
    if size is None:
        if not _fits(height, width):
            raise EvaluationError(
                f"cannot evaluate an image of {height}x{width} as it is: {_TAKEN}; name a size like 256x512"
            )
        return image
    if protocol == "kitti":
        if height < _CROP[0] or width < _CROP[1]:
            raise EvaluationError(
                f"the kitti protocol crops {_CROP[0]}x{_CROP[1]}, and the image has only {height}x{width} pixels; "
                "take protocol native, or a size like 128x256"
            )
        top, left = (height - _CROP[0]) // 2, (width - _CROP[1]) // 2
        image = image[top : top + _CROP[0], left : left + _CROP[1]]
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def seen_share(height: int, width: int, protocol: str) -> float:
    """The share of an image's pixels within a protocol's crop, 0 to 1."""
    return min(1.0, _CROP[0] * _CROP[1] / (height * width)) if protocol == "kitti" else 1.0


def _fits(height: int, width: int) -> bool:
    return MIN_HEIGHT <= height <= MAX_SIDE and MIN_WIDTH <= width <= MAX_SIDE
