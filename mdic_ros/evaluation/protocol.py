"""Which pixels are compared: the evaluation protocols."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

Protocol = Literal["kitti", "native"]


def view(image: npt.NDArray[np.uint8], protocol: Protocol) -> npt.NDArray[np.uint8]:
    """The part of an image that a protocol codes.

    Args:
        image: H x W x 3 uint8 RGB.
        protocol: "kitti" = MDIC's and NDIC's: centre crop of 370x740, resized (bicubic) to 128x256; "native" = the
            whole image as it is.

    Raises:
        ValueError: the image is smaller than the crop.
    """
    if protocol == "native":
        return image
    height, width = image.shape[:2]
    if height < 370 or width < 740:
        raise ValueError(f"the kitti protocol crops 370x740, and the image has only {height}x{width} pixels")
    top, left = (height - 370) // 2, (width - 740) // 2
    crop = Image.fromarray(image[top : top + 370, left : left + 740])
    return np.asarray(crop.resize((256, 128), Image.Resampling.BICUBIC))
