"""The container of one frame: header in front of the range-coded payload. Specified in docs/bitstream.md.

Everything that arrives here is hostile until proven otherwise. Whatever is wrong with a packet is a
`BitstreamError`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mdic_ros.errors import ImageError, MdicError

VERSION = 1
FINGERPRINT_BYTES = 32
MIN_HEIGHT, MIN_WIDTH, MAX_SIDE = 64, 128, 4096
MAX_SCALES = 16  # the rate point is a nibble

#: Images are padded to whole multiples of this many pixels, so that token grids down to a quarter of the feature grid
#: are whole, and so are four levels of the denoiser on the latent (8 pixels).
MULTIPLE = 64
FEATURE_STRIDE = 16  #: pixels per position of the feature grid

View = Literal["left", "right"]  #: which camera of the stereo pair an image is of
RIGHT_VIEW = 0x80  # set in the geometry byte when the coded image is the right camera's

# Code -> (height, width). The code is the place in this list, from 1; 0 says that the size follows
# explicitly. Part of the format: entries never move or change. New ones go to the end.
GEOMETRIES: tuple[tuple[int, int], ...] = (
    (128, 256),  # MDIC protocol
    (256, 512),
    (512, 1024),
    (1024, 2048),  # Cityscapes
    (64, 128),
    (128, 416),
    (192, 640),
    (256, 832),
    (320, 1024),
    (320, 1216),
    (352, 1216),
    (370, 740),  # MDIC's crop of KITTI
    (370, 1224),  # KITTI, by camera set-up
    (370, 1226),
    (374, 1238),
    (375, 1242),
    (376, 1241),
    (376, 1408),  # KITTI-360
    (240, 320),
    (480, 640),
    (600, 800),
    (768, 1024),
    (960, 1280),
    (1200, 1600),
    (240, 424),
    (270, 480),
    (360, 640),
    (480, 848),
    (540, 960),
    (720, 1280),
    (900, 1600),
    (1080, 1920),
    (1440, 2560),
    (2160, 3840),
    (300, 480),
    (400, 640),
    (800, 1280),
    (1200, 1920),
    (376, 672),  # ZED
    (1242, 2208),
    (480, 752),  # EuRoC
    (512, 512),
    (256, 256),
    (512, 640),
    (1024, 1280),
    (1024, 1024),
    (860, 1080),  # InStereo2K
    (966, 1280),
    (1536, 2048),
    (2048, 2448),
    (416, 992),
    (288, 960),
    (886, 1600),
    (1280, 1920),  # Waymo
)
_CODES = {size: code for code, size in enumerate(GEOMETRIES, 1)}
assert len(_CODES) == len(GEOMETRIES) < RIGHT_VIEW


def padded_size(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of an image of this size as it is coded: padded at the bottom and at the right."""
    return -(-height // MULTIPLE) * MULTIPLE, -(-width // MULTIPLE) * MULTIPLE


def feature_grid(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the feature grid of an image of height x width pixels; token grids are fractions of it."""
    rows, columns = padded_size(height, width)
    return rows // FEATURE_STRIDE, columns // FEATURE_STRIDE


class BitstreamError(MdicError):
    """A packet that cannot be decoded: damaged, cut too short, foreign, of another version or model."""


@dataclass(frozen=True)
class BitstreamInfo:
    """What the header says.

    Attributes:
        version: container version, 1.
        rate_point: finest scale the sender put in, 0 .. 15. The packet may have been cut since.
        fingerprint_byte: first byte of the sender's bundle fingerprint.
        height, width: size of the coded image in pixels.
        view: the camera that is coded; the side image is the other one's.
        header_bytes: length of the header, 3 or 6; the payload is the rest.
    """

    version: int
    rate_point: int
    fingerprint_byte: int
    height: int
    width: int
    view: View
    header_bytes: int


def pack_header(rate_point: int, fingerprint: bytes, height: int, width: int, view: View = "left") -> bytes:
    """The 3 or 6 bytes in front of the payload.

    Args:
        rate_point: index of the finest scale in the packet, 0 .. 15.
        fingerprint: SHA-256 of the bundle, 32 bytes; the first goes into the header.
        height, width: size of the coded image, 64 .. 4096 and 128 .. 4096 pixels.
        view: the camera that is coded.

    Raises:
        ImageError: the size cannot be coded.
        ValueError: another argument outside these ranges.
    """
    if not 0 <= rate_point < MAX_SCALES:
        raise ValueError(f"rate point {rate_point} is not in 0..{MAX_SCALES - 1}")
    if len(fingerprint) != FINGERPRINT_BYTES:
        raise ValueError(f"a fingerprint has {FINGERPRINT_BYTES} bytes, not {len(fingerprint)}")
    if not (MIN_HEIGHT <= height <= MAX_SIDE and MIN_WIDTH <= width <= MAX_SIDE):
        raise ImageError(
            f"cannot code an image of {height}x{width}: heights are {MIN_HEIGHT} to {MAX_SIDE}, "
            f"widths {MIN_WIDTH} to {MAX_SIDE} pixels"
        )
    if view not in get_args(View):
        raise ValueError(f"the view is left or right, not {view!r}")
    code = _CODES.get((height, width), 0)
    head = bytes([VERSION << 4 | rate_point, fingerprint[0], code | (RIGHT_VIEW if view == "right" else 0)])
    if code:
        return head
    return head + ((height - 1) << 12 | (width - 1)).to_bytes(3, "big")


def inspect(data: bytes) -> BitstreamInfo:
    """Reads the header alone; the payload is not looked at.

    Raises:
        BitstreamError: no header of a version and a size that this reader knows.
    """
    if len(data) < 3:
        raise BitstreamError(f"packet of {len(data)} bytes is too short for a header")
    version, rate_point = data[0] >> 4, data[0] & 15
    if version != VERSION:
        raise BitstreamError(
            f"no mdic packet, or of another release: it claims container version {version}, known here is {VERSION}"
        )
    code, view = data[2] & ~RIGHT_VIEW, get_args(View)[bool(data[2] & RIGHT_VIEW)]
    if code:
        if code > len(GEOMETRIES):
            raise BitstreamError(f"geometry code {code} is not known here")
        (height, width), size = GEOMETRIES[code - 1], 3
    else:
        if len(data) < 6:
            raise BitstreamError(f"packet of {len(data)} bytes is too short for a header with an explicit size")
        packed, size = int.from_bytes(data[3:6], "big"), 6
        height, width = (packed >> 12) + 1, (packed & 0xFFF) + 1
        if height < MIN_HEIGHT or width < MIN_WIDTH:
            raise BitstreamError(f"image size {height}x{width} is below {MIN_HEIGHT}x{MIN_WIDTH}")
    return BitstreamInfo(version, rate_point, data[1], height, width, view, size)


def split(data: bytes, info: BitstreamInfo, fingerprint: bytes, rate_points: int) -> tuple[bytes, bytes]:
    """Header and payload of a packet for the model with this fingerprint.

    Args:
        data: the packet.
        info: its header, as `inspect` returns it.
        fingerprint: SHA-256 of the reader's bundle, 32 bytes.
        rate_points: number of rate points of the reader's model.

    Returns:
        the header's bytes, the payload.

    Raises:
        BitstreamError: the packet was made with another model.
    """
    if info.fingerprint_byte != fingerprint[0]:
        raise BitstreamError(
            f"packet was made with another model (fingerprint {info.fingerprint_byte:02x}.., "
            f"here {fingerprint[0]:02x}..)"
        )
    if info.rate_point >= rate_points:
        raise BitstreamError(f"rate point {info.rate_point} of a model that has {rate_points}")
    data = bytes(data)
    return data[: info.header_bytes], data[info.header_bytes :]
