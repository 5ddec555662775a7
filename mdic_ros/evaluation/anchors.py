"""Conventional codecs on the same images: what a bundle's figures are compared with.

All of them run here and are decoded from their own bytes. Of still-image formats the whole file is counted. Of video
codecs the parameter sets, which a stream repeats only now and then, are not counted, which is in their favour. "x265
joint" is an upper bound, not a competitor: its encoder sees the side image.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt
from av.video.codeccontext import VideoCodecContext
from PIL import Image as PillowImage

Image = npt.NDArray[np.uint8]  #: H x W x 3 uint8 RGB


@dataclass(frozen=True)
class Coded:
    """A coded image."""

    image: Image  #: as decoded, of the size of the input
    bytes: int  #: as counted, see :attr:`Anchor.bytes_counted`


@dataclass(frozen=True)
class Anchor:
    """A codec with the settings to run it at.

    Attributes:
        name: as reports show it.
        sees_both: whether the encoder uses the side image; the encoder of a distributed codec does not have it.
        bytes_counted: which bytes :attr:`Coded.bytes` counts, in words.
        settings: quality or quantiser from coarse to fine. Where the codec can go so low they span 50 to 1600 bytes of
            a 128x256 street scene, else they begin at its coarsest.
        code: (coded image, side image, setting) -> the coded image as decoded: H x W x 3 uint8 RGB of any size
            from 64x64 up, one setting out of the span of ``settings``. Deterministic.
    """

    name: str
    sees_both: bool
    bytes_counted: str
    settings: tuple[int, ...]
    code: Callable[[Image, Image, int], Coded]


def closest(anchor: Anchor, left: Image, right: Image, target_bytes: float) -> Coded:
    """The version of ``left`` nearest to a number of bytes, among all integers from the first to the last setting.

    A bisection: bytes grow with the setting, but for a few that make no difference here. A target out of reach gives
    the coarsest or the finest version.
    """
    coarse, fine = anchor.settings[0], anchor.settings[-1]
    direction = 1 if fine >= coarse else -1
    low, high = 0, abs(fine - coarse)
    versions = []
    while low <= high:
        middle = (low + high) // 2
        versions.append(anchor.code(left, right, coarse + direction * middle))
        if versions[-1].bytes > target_bytes:
            high = middle - 1
        else:
            low = middle + 1
    return min(versions, key=lambda version: abs(version.bytes - target_bytes))


# --- still images --------------------------------------------------------------------------------------------


def _copy_side(left: Image, right: Image, setting: int) -> Coded:
    return Coded(right, 0)


def _pillow(form: str, **options: Any) -> Callable[[Image, Image, int], Coded]:
    def code(left: Image, right: Image, quality: int) -> Coded:
        file = io.BytesIO()
        PillowImage.fromarray(left).save(file, form, quality=quality, **options)
        with PillowImage.open(file) as decoded:
            return Coded(np.asarray(decoded.convert("RGB")), len(file.getvalue()))

    return code


# --- video codecs --------------------------------------------------------------------------------------------

# 4:2:0 with BT.601 and limited range, set in both directions: by default, the conversion back depends on what the
# stream declares, and these streams declare nothing.
_YUV = {"colorspace": "ITU601", "color_range": "MPEG"}
_TICK = Fraction(1, 25)  # encoders require a frame rate; at a constant quantiser it changes nothing


def _to_yuv(image: Image) -> av.VideoFrame:
    """An RGB image as 4:2:0, its last row and column repeated where a side is odd."""
    height, width = image.shape[:2]
    even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
    return frame.reformat(format="yuv420p", dst_colorspace=_YUV["colorspace"], dst_color_range=_YUV["color_range"])


def _to_rgb(frame: av.VideoFrame, height: int, width: int) -> Image:
    rgb = frame.reformat(
        format="rgb24",
        src_colorspace=_YUV["colorspace"],
        src_color_range=_YUV["color_range"],
        dst_color_range="JPEG",
    )
    return np.ascontiguousarray(rgb.to_ndarray()[:height, :width])


def _encode(codec: str, images: Sequence[Image], options: dict[str, str]) -> list[av.Packet]:
    """One packet for each image, in their order."""
    frames = [_to_yuv(image) for image in images]
    context = cast(VideoCodecContext, VideoCodecContext.create(codec, "w"))
    context.width, context.height, context.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
    context.time_base, context.framerate = _TICK, 1 / _TICK
    context.options = options
    packets = []
    for number, frame in enumerate(frames):
        frame.pts, frame.time_base = number, _TICK
        packets += context.encode(frame)
    return packets + context.encode(None)


def _decode_last(codec: str, packets: Sequence[av.Packet], like: Image) -> Image:
    context = cast(VideoCodecContext, VideoCodecContext.create(codec, "r"))
    context.thread_count = 1
    frames = [frame for packet in [*packets, None] for frame in context.decode(packet)]
    return _to_rgb(frames[-1], *like.shape[:2])


def _vcl_bytes(packet: av.Packet) -> int:
    """Bytes of the coded slices (VCL NAL units with their two header bytes) of an HEVC packet in Annex B form."""
    data = bytes(packet)
    starts = [i + 3 for i in range(len(data) - 2) if data[i : i + 3] == b"\0\0\1"]
    ends = [start - 3 for start in starts[1:]] + [len(data)]
    units = [data[start:end].rstrip(b"\0") for start, end in zip(starts, ends)]  # zeros belong to the next start code
    return sum(len(unit) for unit in units if unit[0] >> 1 & 0x3F < 32)


def _x265(images: Sequence[Image], qp: int, *more: str) -> list[av.Packet]:
    # One thread: the stream then leaves out what only parallel decoding needs.
    parameters = [f"qp={qp}", "bframes=0", "info=0", "log-level=none", "frame-threads=1", "pools=none", "wpp=0", *more]
    return _encode("libx265", images, {"preset": "veryslow", "x265-params": ":".join(parameters)})


def _x265_intra(left: Image, right: Image, qp: int) -> Coded:
    packets = _x265([left], qp, "keyint=1")
    return Coded(_decode_last("hevc", packets, left), _vcl_bytes(packets[-1]))


def _x265_joint(left: Image, right: Image, qp: int) -> Coded:
    """The coded image as a P frame of the side image, which is nearly lossless and not counted.

    ``ipratio`` is the only way through PyAV to give the two different quantisers: 250 leaves the first one at 0 to 3
    whatever the second has.
    """
    packets = _x265([right, left], qp, "keyint=250", "scenecut=0", "ipratio=250")
    return Coded(_decode_last("hevc", packets, left), _vcl_bytes(packets[-1]))


def _obus(data: bytes) -> Iterator[tuple[int, int]]:
    """Type and bytes, header included, of the open bitstream units in an AV1 packet (AV1 specification, 5.3)."""
    start = 0
    while start < len(data):
        kind, extended, sized = data[start] >> 3 & 15, data[start] >> 2 & 1, data[start] >> 1 & 1
        at = start + 1 + extended
        length = shift = 0
        while sized:  # leb128: seven bits a byte, the eighth says that more follow
            length |= (data[at] & 127) << shift
            shift += 7
            at += 1
            if data[at - 1] < 128:
                break
        end = at + length if sized else len(data)
        yield kind, end - start
        start = end


@contextmanager
def _kept_priority() -> Iterator[None]:
    """Afterwards the process has the scheduling that it had before.

    For root, as in most containers, SVT-AV1 gives the whole process the highest real-time priority and leaves it there:
    every process that is started from then on keeps all others from the processor.
    """
    process = os.getpid()
    policy, parameters = os.sched_getscheduler(process), os.sched_getparam(process)
    try:
        yield
    finally:
        if os.sched_getscheduler(process) != policy:
            os.sched_setscheduler(process, policy, parameters)


def _svt_av1(left: Image, right: Image, crf: int) -> Coded:
    os.environ.setdefault("SVT_LOG", "1")  # errors only: the library prints its settings to stderr at every start
    with _kept_priority():
        packets = _encode("libsvtav1", [left], {"preset": "0", "crf": str(crf), "svtav1-params": "avif=1:lp=1"})
    frame_kinds = (3, 4, 6)  # frame header, tile group, frame
    counted = sum(length for packet in packets for kind, length in _obus(bytes(packet)) if kind in frame_kinds)
    return Coded(_decode_last("libdav1d", packets, left), counted)


ANCHORS: tuple[Anchor, ...] = (
    Anchor("side image copied", False, "none: nothing is sent", (0,), _copy_side),
    Anchor("JPEG", False, "whole file", (2, 3, 4, 5, 6, 8), _pillow("JPEG", optimize=True)),
    Anchor("WebP", False, "whole file", (0, 1, 2, 3, 5, 7), _pillow("WEBP", method=6)),
    # speed 2 is within 0.1 dB of speed 0 and three times as quick
    Anchor("AVIF", False, "whole file", (0, 4, 8, 13, 19, 26), _pillow("AVIF", speed=2, max_threads=1)),
    Anchor("x265 intra", False, "VCL NAL units only", (51, 48, 46, 44, 42, 40), _x265_intra),
    Anchor("x265 joint", True, "VCL NAL units of the coded image only", (51, 48, 45, 42, 39, 36, 33, 30), _x265_joint),
    Anchor("SVT-AV1 intra", False, "frame OBUs only", (63, 61, 58, 55, 50, 43), _svt_av1),
)
