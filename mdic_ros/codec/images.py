"""uint8 images at the public boundary, and what the networks take, in numpy.

The networks are trained for one arrangement: the left camera's image is coded, the right one's is the side image.
A mirror exchanges the views of a pair. So where the right view is coded, both images are mirrored before they go into
the networks, and the picture is mirrored back.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from mdic_ros.codec.bitstream import padded_size
from mdic_ros.errors import ImageError

Image = npt.NDArray[np.uint8]  #: H x W x 3 uint8 RGB


def check_image(image: Image) -> None:
    """Raises ImageError unless this is an H x W x 3 uint8 array."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ImageError(f"an image is an H x W x 3 uint8 RGB array, not {what}")


def resize_image(image: Image, height: int, width: int) -> Image:
    """Resizes an H x W x 3 uint8 RGB image by an antialiasing Lanczos filter; one of that size comes back as it is."""
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(PillowImage.fromarray(image).resize((width, height), PillowImage.Resampling.LANCZOS))


def mirrored(image: Image) -> Image:
    """An image (H x W x C uint8) with left and right exchanged, contiguous."""
    return np.ascontiguousarray(image[:, ::-1])


def to_pixels(image: Image, *, mirror: bool = False) -> npt.NDArray[np.float32]:
    """What the networks take: padded, in [-1, 1].

    Args:
        image: H x W x 3 uint8 RGB; may be read-only and have any strides.
        mirror: exchange left and right first.

    Returns:
        (1, 3, H', W') float32 contiguous, H' and W' from `padded_size`; what is added at the bottom and at the right
        repeats the border.

    Raises:
        ImageError: another shape or type.
    """
    check_image(image)
    height, width = image.shape[:2]
    rows, columns = padded_size(height, width)
    if mirror:
        image = image[:, ::-1]
    if (rows, columns) != (height, width):
        image = np.pad(image, ((0, rows - height), (0, columns - width), (0, 0)), mode="edge")
    pixels = np.empty((1, 3, rows, columns), np.float32)
    np.divide(image.transpose(2, 0, 1), np.float32(127.5), out=pixels[0], dtype=np.float32)
    pixels -= 1
    return pixels
