"""Image <-> bytes. `Encoder` runs on the robot, `Decoder` on the workstation.

Names are imported when they are first used: the robot's half must not load the workstation's libraries.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mdic_ros.extras import need

if TYPE_CHECKING:
    from mdic_ros.codec.bitstream import BitstreamError, BitstreamInfo, View, inspect
    from mdic_ros.codec.bundle import Bundle, BundleError, default_bundle
    from mdic_ros.codec.decoder import Decoder, ParsedPacket, Reconstruction, SideView
    from mdic_ros.codec.encoder import BudgetError, Encoder
    from mdic_ros.models.row_offset import RowOffset

__all__ = [
    "BitstreamError",
    "BitstreamInfo",
    "BudgetError",
    "Bundle",
    "BundleError",
    "Decoder",
    "Encoder",
    "ParsedPacket",
    "Reconstruction",
    "RowOffset",
    "SideView",
    "View",
    "default_bundle",
    "inspect",
]

_SOURCES = {
    "mdic_ros.codec.bitstream": ("BitstreamError", "BitstreamInfo", "View", "inspect"),
    "mdic_ros.codec.bundle": ("Bundle", "BundleError", "default_bundle"),
    "mdic_ros.codec.decoder": ("Decoder", "ParsedPacket", "Reconstruction", "SideView"),
    "mdic_ros.codec.encoder": ("BudgetError", "Encoder"),
    "mdic_ros.models.row_offset": ("RowOffset",),
}
_WORKSTATION = ("mdic_ros.codec.decoder",)
_MODULES = {name: module for module, names in _SOURCES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _MODULES[name] in _WORKSTATION:
        need("workstation")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
