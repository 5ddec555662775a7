"""The evaluation protocols: which pixels are compared.

- kitti: MDIC's and NDIC's for KITTI, centre crop of 370x740, resized to 128x256
- cityscapes: MDIC's for Cityscapes, the whole frame resized to 128x256
- native: the whole frame as it is
- whole: the whole frame at 128 rows (128 columns, if it is higher than wide), with its own aspect ratio
- HEIGHTxWIDTH: the whole frame resized to that size, e.g. 256x512; nothing is cropped, so shapes may be stretched

The filter is bicubic. The paper's code resizes bilinearly, which blurs a little: its originals are about 0.5 dB easier.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
from PIL import Image

from mdic_ros.codec.bitstream import MAX_SIDE, MIN_HEIGHT, MIN_WIDTH
from mdic_ros.errors import ImageError
from mdic_ros.evaluation.errors import EvaluationError
from mdic_ros.stream.encode_session import EncodeSettings, coded_size

NAMED = ("kitti", "cityscapes", "native", "whole")

_PAPER = (128, 256)
_SHORT = 128  # the shorter side of "whole"
_CROP = (370, 740)
_TAKEN = f"the codec takes heights of {MIN_HEIGHT} to {MAX_SIDE} and widths of {MIN_WIDTH} to {MAX_SIDE} pixels"


def fixed_size(protocol: str) -> tuple[int, int] | None:
    """Height and width that a protocol codes; None for "native" and "whole", where they depend on the image.

    Raises:
        EvaluationError: no such protocol, or a size that the codec cannot take.
    """
    if protocol in ("native", "whole"):
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
    size = fixed_size(protocol)
    height, width = image.shape[:2]
    if protocol == "whole":
        size = _whole(height, width)
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
                "take protocol whole, native, or a size like 128x256"
            )
        top, left = (height - _CROP[0]) // 2, (width - _CROP[1]) // 2
        image = image[top : top + _CROP[0], left : left + _CROP[1]]
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def is_kitti(height: int, width: int) -> bool:
    """Whether an image has the size of KITTI's rectified ones, which differ by a few pixels from day to day."""
    return 370 <= height <= 376 and 1224 <= width <= 1242


def _whole(height: int, width: int) -> tuple[int, int]:
    """Size of an image by "whole".

    Raises:
        EvaluationError: it is so long and narrow that the codec cannot take it at this size.
    """
    settings = EncodeSettings(coded_height=_SHORT) if width >= height else EncodeSettings(coded_width=_SHORT)
    try:
        return coded_size(height, width, settings)
    except ImageError:
        raise EvaluationError(
            f"the whole protocol cannot code an image of {height}x{width} with {_SHORT} pixels on its shorter side: "
            f"{_TAKEN}; name a size like 256x512"
        ) from None


def seen_share(height: int, width: int, protocol: str) -> float:
    """The share of an image's pixels within a protocol's crop, 0 to 1."""
    return min(1.0, _CROP[0] * _CROP[1] / (height * width)) if protocol == "kitti" else 1.0


def _fits(height: int, width: int) -> bool:
    return MIN_HEIGHT <= height <= MAX_SIDE and MIN_WIDTH <= width <= MAX_SIDE
