"""Image files and image messages to H x W x 3 uint8 RGB arrays, and back.

Message functions take any object with the fields of the ROS message, from rclpy or from rosbags. Input is not trusted:
sizes are checked against the data before anything of that size is allocated.

`ENCODINGS` and `FORMATS` are the list of what is accepted, for files, bags and nodes; where cv_bridge works, its
encodings are, too.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mdic_ros.datasets.cv_bridge import cv_bridge_works, through_cv_bridge
from mdic_ros.errors import ImageError

RGB = NDArray[np.uint8]

#: Largest image that is accepted, in pixels (an 8k frame has 33 million).
MAX_PIXELS = 64_000_000

#: First bytes of the image files that are accepted. Pillow knows many more formats, PostScript among them.
FORMATS = {"PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff", "WEBP": b"RIFF"}

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

#: Encodings of `sensor_msgs/Image` that are accepted: channels, and the places of R, G and B among them.
ENCODINGS = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
    "8UC1": (1, (0, 0, 0)),
    "8UC3": (3, (2, 1, 0)),
}

#: What Git LFS leaves in place of a file that was not downloaded.
LFS_POINTER = b"version https://git-lfs.github.com/spec/"

_VIDEO = re.compile(r"h\.?26[45]|hevc|avc|av1|vp[89]|mpeg|theora|ffmpeg", re.IGNORECASE)
_ORIENTATION = 0x0112  # EXIF tag
#: EXIF orientation to what turns the stored picture upright; 1 is upright already.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


# --- files --------------------------------------------------------------------------------------------------


def is_picture(path: Path) -> bool:
    """Whether a file begins like a PNG, JPEG or WebP image, whatever its name is.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(12)
    return head.startswith(tuple(FORMATS.values())) and (head[:4] != FORMATS["WEBP"] or head[8:] == b"WEBP")


def _open(file: IO[bytes], name: str, deep_grey: bool = False) -> Image.Image:
    """An image whose kind, depth and size are acceptable; its pixels are not read yet."""
    head = file.read(64)
    file.seek(0)
    if head.startswith(LFS_POINTER):
        raise ImageError(f"{name}: a pointer of Git LFS, the image itself is not here; fetch it with 'git lfs pull'")
    if not head.startswith(tuple(FORMATS.values())):
        raise ImageError(f"{name}: damaged, or not a PNG, JPEG or WebP image; copy it again, or convert it to PNG")
    # Of 16 bits per channel Pillow keeps the upper 8 without a word, except of grey.
    if head[12:16] == b"IHDR" and head[24:25] == b"\x10" and not (deep_grey and head[25:26] == b"\0"):
        raise ImageError(f"{name}: more than 8 bits per channel; convert a copy to 8, e.g. 'mogrify -depth 8 *.png'")
    image = Image.open(file, formats=tuple(FORMATS))
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.height}x{image.width}"
        raise ImageError(f"{name}: {size} pixels are more than the {MAX_PIXELS} that are accepted; scale it down")
    return image


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or it cannot be read."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF, of which Pillow complains in many ways, does no harm to the picture
        return 1


@contextmanager
def _image(file: IO[bytes], name: str, deep_grey: bool = False) -> Iterator[Image.Image]:
    """The image in a file; all that Pillow raises while it is used becomes an ImageError."""
    try:
        with _open(file, name, deep_grey) as image:
            yield image
    except ImageError:
        raise
    # Pillow reports damage with whatever exception it meets: OSError, SyntaxError, EOFError, ValueError, struct.error,
    # zlib.error, DecompressionBombError ... The text may hold the address of a buffer, which tells nobody anything.
    except Exception as error:
        reason = re.sub(r" ?<_io\.\w+[^>]*>", "", str(error)).strip() or type(error).__name__
        raise ImageError(f"{name}: the image is damaged ({reason}); copy it again from the source") from error


@contextmanager
def _image_file(path: Path, deep_grey: bool = False) -> Iterator[Image.Image]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror}") from error
    with file, _image(file, str(path), deep_grey) as image:
        yield image


def _to_rgb(image: Image.Image) -> RGB:
    """H x W x 3 uint8 RGB, upright."""
    upright = _UPRIGHT.get(_orientation(image))
    if upright is not None:
        image = image.transpose(upright)
    if _is_deep(image):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return np.array(image.convert("RGB"), np.uint8)


def _is_deep(image: Image.Image) -> bool:
    """Whether it is grey with 16 bits; Pillow's mode for that is I;16 or, in older versions, I."""
    return image.mode.startswith("I")


def read_image(path: Path) -> RGB:
    """Reads an image file (PNG, JPEG, WebP) as H x W x 3 uint8 RGB, turned upright as its EXIF orientation says.

    Grey is repeated, alpha is dropped.

    Raises:
        ImageError: missing, damaged, truncated, too large or deeper than 8 bits.
    """
    with _image_file(path) as image:
        return _to_rgb(image)


def read_deep_grey(path: Path) -> RGB:
    """Like `read_image`, and of a grey PNG with 16 bits per pixel the upper 8.

    Not for every file: the 16 bits of a map of distances or of a camera that uses 12 of them are not such pictures.
    """
    with _image_file(path, deep_grey=True) as image:
        return _to_rgb(image)


def read_image_bytes(data: bytes, name: str) -> RGB:
    """Like `read_image`, of the bytes of a file; `name` is for error messages."""
    with _image(io.BytesIO(data), name) as image:
        return _to_rgb(image)


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of the upright picture from the head of an image file, without decoding it.

    Raises:
        ImageError: missing, or not an image that `read_image` accepts.
    """
    with _image_file(path) as image:
        size = image.height, image.width
        return size[::-1] if _orientation(image) >= 5 else size


def first_readable(paths: Iterable[Path], read: Callable[[Path], object] = image_size) -> Path:
    """The first of some image files (at least one, of which ten are tried) whose head can be read, else the first.

    A recording whose first image is damaged still has a size. `read` is what reads the head, or raises ImageError.
    """
    tried = list(islice(paths, 10))
    for path in tried:
        with suppress(ImageError):
            read(path)
            return path
    return tried[0]


def stored_form(path: Path) -> str | None:
    """What an image file is, whatever its name: "png", "jpeg" or "webp"; None if EXIF says to turn it.

    Raises:
        ImageError: as `image_size`.
    """
    with _image_file(path) as image:
        return None if _orientation(image) in _UPRIGHT else str(image.format).lower()


def grey_bits(path: Path) -> int:
    """Bits per pixel of an image file without colours, 8 or 16; 0 if it has colours.

    Raises:
        ImageError: missing, or not an image that `read_deep_grey` accepts.
    """
    with _image_file(path, deep_grey=True) as image:
        return 16 if _is_deep(image) else 8 if image.mode in ("1", "L", "LA") else 0


def encode_image(image: RGB, form: Literal["png", "jpeg"], quality: int = 95) -> bytes:
    """PNG (lossless) or JPEG file bytes of an image; equal images give equal bytes with one version of Pillow."""
    buffer = io.BytesIO()
    if form == "png":
        Image.fromarray(image).save(buffer, "PNG", compress_level=3)
    else:
        Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


# --- messages -----------------------------------------------------------------------------------------------


def from_image_message(message: Any, name: str) -> RGB:
    """`sensor_msgs/Image` to RGB; alpha and the padding at the end of rows (`step`) are dropped, grey is repeated.

    `is_bigendian` means nothing for channels of 8 bits and is ignored.

    Raises:
        ImageError: unknown encoding, or sizes that do not agree with the data.
    """
    if message.encoding not in ENCODINGS:
        if cv_bridge_works():
            return through_cv_bridge(message, name)
        raise ImageError(
            f"{name}: encoding '{str(message.encoding)[:40]}' is none of {', '.join(ENCODINGS)}, and cv_bridge, which "
            "knows more, is not installed or does not work here; install it, or convert first, e.g. with image_proc"
        )
    channels, order = ENCODINGS[message.encoding]
    height, width, step = int(message.height), int(message.width), int(message.step)
    data = np.frombuffer(message.data, np.uint8)
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise ImageError(f"{name}: impossible size {height}x{width}")
    if step < width * channels or data.size < step * (height - 1) + width * channels:
        raise ImageError(
            f"{name}: {data.size} bytes with step {step} do not hold {height}x{width} pixels of {message.encoding}"
        )
    rows = np.lib.stride_tricks.as_strided(data, (height, width, channels), (step, channels, 1), writeable=False)
    return np.ascontiguousarray(rows[:, :, order])


def from_compressed_message(message: Any, name: str) -> RGB:
    """`sensor_msgs/CompressedImage` that holds a JPEG, PNG or WebP file to RGB, upright.

    What the data is, its first bytes say. `format` is only asked what they cannot know, see `format_problem`.

    Raises:
        ImageError: no image file, damaged, too large, deeper than 8 bits, or the mosaic of a Bayer sensor.
    """
    data, form = bytes(message.data), str(getattr(message, "format", ""))[:80]
    if data.startswith((*FORMATS.values(), LFS_POINTER)):
        with _image(io.BytesIO(data), name) as image:
            if form.startswith("bayer") and image.mode == "L":
                raise ImageError(f"{name}: a raw Bayer mosaic; turn it into colours first, e.g. with image_proc")
            return _to_rgb(image)
    what = f"{name}: compressed image of format '{form}'"
    if _VIDEO.search(form):
        raise ImageError(f"{what} is a piece of a video, not a picture; {_REPUBLISH}")
    if "compressedDepth" in form:
        raise ImageError(f"{what} holds distances, not a picture; name the topic of a camera's images")
    raise ImageError(f"{what} is neither JPEG, PNG nor WebP, or is damaged; {_REPUBLISH}")


_REPUBLISH = "turn it into images first, e.g. with 'ros2 run image_transport republish' to raw"


def format_problem(form: str) -> str:
    """What is doubtful about the `format` of a `sensor_msgs/CompressedImage`; empty if nothing is.

    image_transport writes "bgr8; jpeg compressed bgr8": the encoding before compression, and the order of colours that
    the compressor was given. It expects bgr there; with rgb its own subscriber exchanges red and blue. This package
    takes the colours as the file has them.
    """
    if re.search(r"compressed rgb", form):
        return (
            f"format '{form[:80]}' says that red and blue are exchanged in the file, which image_transport would undo; "
            "the colours are taken as the file has them"
        )
    return ""


def to_encoding(image: RGB, encoding: Literal["rgb8", "bgr8", "mono8"]) -> RGB:
    """RGB to the channels of a `sensor_msgs/Image` encoding, contiguous: H x W x 3, or H x W for mono8.

    `mono8` takes the first channel where all three agree (a grey image) and ITU-R 601 luma otherwise.
    """
    if encoding == "rgb8":
        return np.ascontiguousarray(image)
    if encoding == "bgr8":
        return np.ascontiguousarray(image[:, :, ::-1])
    if np.array_equal(image[:, :, 0], image[:, :, 1]) and np.array_equal(image[:, :, 0], image[:, :, 2]):
        return np.ascontiguousarray(image[:, :, 0])
    return np.asarray(Image.fromarray(image).convert("L"))
