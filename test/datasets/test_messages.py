from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdic_ros.datasets import DatasetError
from mdic_ros.datasets.messages import (
    BITSTREAM,
    CAMERA_INFO,
    DECODE_REPORT,
    STREAM_INFO,
    make,
    make_camera_info,
    make_header,
    peek_header,
    typestore,
)


def test_types_are_those_of_the_msg_files() -> None:
    folder = Path(__file__).parents[2] / "msg"
    for msgtype in (BITSTREAM, STREAM_INFO, DECODE_REPORT):
        text = (folder / f"{msgtype.rpartition('/')[2]}.msg").read_text()
        declared = [line.split()[1] for line in text.splitlines() if line and not line.startswith("#")]
        assert [name for name, _ in typestore().fielddefs[msgtype][1]] == declared


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_hostile_headers(data: bytes) -> None:
    try:
        stamp, frame_id = peek_header(data)
    except DatasetError:
        return
    assert isinstance(stamp, int)
    assert len(frame_id) < len(data)


def test_camera_info_message() -> None:
    message = make_camera_info(make_header(1, "x"), None)
    assert message.k[0] == 0
    typestore().serialize_cdr(message, CAMERA_INFO)


@pytest.mark.ros
def test_ros_reads_our_messages_and_knows_them_by_the_same_hash(tmp_path: Path) -> None:
    """What players and recorders of a real ROS 2 see: CDR bytes, and the type hash of the built messages."""
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    messages = pytest.importorskip("mdic_ros.msg", reason="mdic_ros.msg is not built")
    from rclpy.serialization import deserialize_message, serialize_message

    info = make_camera_info(make_header(7, "c"), None)
    header = make_header(1_317_042_272_345_808_896, "camera_color_left")
    sent = {
        BITSTREAM: make(BITSTREAM, header=header, sequence=9, data=np.arange(5, dtype=np.uint8)),
        STREAM_INFO: make(
            STREAM_INFO, header=header, height=375, width=1242, coded_height=128, coded_width=256, encoding="bgr8",
            model_id="m", fingerprint="f" * 64, stream_version=1, rate_points=5, camera_info=info,
        ),
    }  # fmt: skip
    for msgtype, message in sent.items():
        built = getattr(messages, msgtype.rpartition("/")[2])
        data = bytes(typestore().serialize_cdr(message, msgtype))
        received = deserialize_message(data, built)
        assert received.header.stamp.nanosec == 345_808_896
        assert received.header.frame_id == "camera_color_left"
        again = typestore().deserialize_cdr(serialize_message(received), msgtype)
        assert bytes(typestore().serialize_cdr(again, msgtype)) == data
    shares = [parent / "share" / "mdic_ros" / "msg" for parent in Path(messages.__file__).parents]
    folder = next(share for share in shares if share.is_dir())
    for msgtype in (BITSTREAM, STREAM_INFO, DECODE_REPORT):
        described = json.loads((folder / f"{msgtype.rpartition('/')[2]}.json").read_text())
        (digest,) = (t["hash_string"] for t in described["type_hashes"] if t["type_name"] == msgtype)
        assert digest == typestore().hash_rihs01(msgtype)
