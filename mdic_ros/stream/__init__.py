"""A sequence of frames, without ROS and without a clock of its own: times are handed in.

`EncodeSession` is one stream on the robot, `DecodeSession` one on the workstation. Nodes, `mdic encode` and
`mdic decode` run the same sessions. Several sessions may share one codec.

Exports are lazy (PEP 562): the robot's half never imports the workstation's.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mdic_ros.extras import need

if TYPE_CHECKING:
    from mdic_ros.stream.decode_session import DecodeSession, DecodeSettings, Picture
    from mdic_ros.stream.encode_session import CodedFrame, EncodeSession, EncodeSettings, Refused

_HOMES = {
    "CodedFrame": "encode_session",
    "DecodeSession": "decode_session",
    "DecodeSettings": "decode_session",
    "EncodeSession": "encode_session",
    "EncodeSettings": "encode_session",
    "Picture": "decode_session",
    "Refused": "encode_session",
}

__all__ = [
    "CodedFrame",
    "DecodeSession",
    "DecodeSettings",
    "EncodeSession",
    "EncodeSettings",
    "Picture",
    "Refused",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    if _HOMES[name] == "decode_session":
        need("workstation")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
