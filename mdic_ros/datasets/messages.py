"""Messages without ROS: their types, CDR bytes, and the few that this package writes."""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from mdic_ros.datasets.calibration import CameraInfo
from mdic_ros.datasets.errors import DatasetError
from mdic_ros.datasets.images import RGB, to_encoding
from mdic_ros.resources import resource

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
BITSTREAM = "mdic_ros/msg/Bitstream"
STREAM_INFO = "mdic_ros/msg/StreamInfo"
DECODE_REPORT = "mdic_ros/msg/DecodeReport"

_OURS = ("Bitstream", "StreamInfo", "DecodeReport")


def new_typestore() -> Typestore:
    """The message types of ROS 2 Jazzy and our own, in a store that the caller may add types to."""
    store = get_typestore(Stores.ROS2_JAZZY)
    folder = resource("msg")
    for name in _OURS:
        store.register(get_types_from_msg((folder / f"{name}.msg").read_text("utf8"), f"mdic_ros/msg/{name}"))
    return store


@cache
def typestore() -> Typestore:
    """A shared `new_typestore`; treat it as read-only."""
    return new_typestore()


def make(msgtype: str, /, **fields: Any) -> Any:
    """A message of a type of `typestore`: `make(BITSTREAM, header=..., sequence=0, data=...)`."""
    return typestore().types[msgtype](**fields)


def make_header(stamp_ns: int, frame_id: str) -> Any:
    """`std_msgs/Header`."""
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    stamp = make("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
    return make("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def make_image(header: Any, image: RGB, encoding: str = "rgb8") -> Any:
    """`sensor_msgs/Image` of an RGB image, or of an H x W mask with encoding mono8."""
    pixels = image if image.ndim == 2 else to_encoding(image, encoding)  # type: ignore[arg-type]
    height, width = pixels.shape[:2]
    flat = np.ascontiguousarray(pixels).reshape(-1)
    return make(
        IMAGE,
        header=header,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=flat.size // height,
        data=flat,
    )


def make_compressed_image(header: Any, form: str, data: bytes) -> Any:
    """`sensor_msgs/CompressedImage` of the bytes of an image file; `form` is `jpeg` or `png`."""
    return make(COMPRESSED_IMAGE, header=header, format=form, data=np.frombuffer(data, np.uint8))


def make_camera_info(header: Any, info: CameraInfo | None) -> Any:
    """`sensor_msgs/CameraInfo`, all zeros when the calibration is unknown."""
    roi = make("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return make(
        CAMERA_INFO,
        header=header,
        height=info.height if info else 0,
        width=info.width if info else 0,
        distortion_model=info.distortion_model if info else "",
        d=np.array(info.d if info else (), np.float64),
        k=info.k.reshape(-1) if info else np.zeros(9),
        r=info.r.reshape(-1) if info else np.zeros(9),
        p=info.p.reshape(-1) if info else np.zeros(12),
        binning_x=0,
        binning_y=0,
        roi=roi,
    )


def stamp_ns(header: Any) -> int:
    """Nanoseconds of a `std_msgs/Header`."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def peek_header(data: bytes) -> tuple[int, str]:
    """(stamp in ns, frame_id) of a serialised message that starts with a `std_msgs/Header`.

    Raises:
        DatasetError: too short to hold one.
    """
    try:
        order = "<" if data[1] & 1 else ">"
        seconds, nanoseconds, length = struct.unpack_from(f"{order}iII", data, 4)
        if length < 1 or len(data) < 16 + length:
            raise IndexError
        return seconds * 1_000_000_000 + nanoseconds, bytes(data[16 : 15 + length]).decode("utf8", "replace")
    except (struct.error, IndexError):
        raise DatasetError("message too short for its header") from None
