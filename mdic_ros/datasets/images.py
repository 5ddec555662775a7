"""Image files and image messages to H x W x 3 uint8 RGB arrays, and back.

Message functions take anything with the fields of the ROS message, from rclpy or from rosbags alike. What
comes in is treated as hostile: sizes are checked against the data before anything of that size is made.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .errors import ImageError

RGB = NDArray[np.uint8]

#: Largest image that is accepted, in pixels (an 8k frame has 33 million).
MAX_PIXELS = 64_000_000

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

# The only ones that are opened: Pillow knows many more, PostScript among them.
_FORMATS = ("PNG", "JPEG", "WEBP")

#: encoding -> (channels, order in which they are R, G, B)
_ENCODINGS = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
    "8UC1": (1, (0, 0, 0)),
    "8UC3": (3, (2, 1, 0)),
}


def _decode(source: Path | io.BytesIO, name: str) -> RGB:
    try:
        with Image.open(source, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(f"{name}: {image.width}x{image.height} pixels are more than this package takes")
            if image.mode.startswith(("I", "F")):
                raise ImageError(f"{name}: more than 8 bits per channel ({image.mode}); convert it to 8 bits first")
            return np.array(image.convert("RGB"), np.uint8)
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{name}: no such file") from error
    # Pillow's decoders report damage with whatever exception they meet: OSError, SyntaxError, EOFError,
    # ValueError, struct.error, zlib.error, DecompressionBombError ...
    except Exception as error:
        raise ImageError(f"{name}: damaged or not an image ({error}); copy it again from the source") from error


def read_image(path: Path) -> RGB:
    """An image file (PNG, JPEG, WebP) as H x W x 3 uint8 RGB; grey is repeated, alpha is dropped.

    Raises:
        ImageError: missing, damaged, truncated or deeper than 8 bits.
    """
    return _decode(path, str(path))


def read_image_bytes(data: bytes, name: str) -> RGB:
    """Like :func:`read_image`, of the bytes of a file; ``name`` is for error messages."""
    return _decode(io.BytesIO(data), name)


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) from the head of an image file, without decoding it.

    Raises:
        ImageError: missing or not an image.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return image.height, image.width
    except Exception as error:
        raise ImageError(f"{path}: damaged or not an image ({error})") from error


def encode_image(image: RGB, form: Literal["png", "jpeg"], quality: int = 95) -> bytes:
    """PNG (lossless) or JPEG file bytes of an image; equal images give equal bytes with one Pillow."""
    buffer = io.BytesIO()
    if form == "png":
        Image.fromarray(image).save(buffer, "PNG", compress_level=3)
    else:
        Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def resize_image(image: RGB, height: int, width: int) -> RGB:
    """Resized to ``height`` x ``width`` with an antialiasing Lanczos filter."""
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def from_image_message(message: Any, name: str) -> RGB:
    """``sensor_msgs/Image`` to RGB; padding at the end of rows (``step``) is dropped.

    Raises:
        ImageError: unknown encoding, or sizes that do not agree with the data.
    """
    try:
        channels, order = _ENCODINGS[message.encoding]
    except KeyError:
        raise ImageError(f"{name}: encoding '{message.encoding}' is none of {', '.join(_ENCODINGS)}") from None
    height, width, step = int(message.height), int(message.width), int(message.step)
    data = np.frombuffer(message.data, np.uint8)
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise ImageError(f"{name}: impossible size {width}x{height}")
    if step < width * channels or data.size < step * (height - 1) + width * channels:
        raise ImageError(
            f"{name}: {data.size} bytes with step {step} do not hold {width}x{height} pixels of {message.encoding}"
        )
    rows = np.lib.stride_tricks.as_strided(data, (height, width, channels), (step, channels, 1), writeable=False)
    return np.ascontiguousarray(rows[:, :, order])


def from_compressed_message(message: Any, name: str) -> RGB:
    """``sensor_msgs/CompressedImage`` (JPEG, PNG, WebP) to RGB.

    Raises:
        ImageError: damaged, or not an image.
    """
    return read_image_bytes(bytes(message.data), name)


def to_encoding(image: RGB, encoding: Literal["rgb8", "bgr8", "mono8"]) -> RGB:
    """RGB to the channel layout of a ``sensor_msgs/Image`` encoding, contiguous.

    ``mono8`` takes the first channel where all three agree (a grey image) and ITU-R 601 luma otherwise.
    """
    if encoding == "rgb8":
        return np.ascontiguousarray(image)
    if encoding == "bgr8":
        return np.ascontiguousarray(image[:, :, ::-1])
    if np.array_equal(image[:, :, 0], image[:, :, 1]) and np.array_equal(image[:, :, 0], image[:, :, 2]):
        return np.ascontiguousarray(image[:, :, 0])
    return np.asarray(Image.fromarray(image).convert("L"))
