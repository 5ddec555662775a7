"""Image <-> bytes. `Encoder` runs on the robot, `Decoder` on the workstation.

Names are imported when they are first used: the robot's half must not load the workstation's libraries.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mdic_ros.codec.bitstream import BitstreamError, BitstreamInfo, View, inspect
    from mdic_ros.codec.bundle import Bundle, BundleError, default_bundle
    from mdic_ros.codec.decoder import Decoder, ParsedPacket, Reconstruction, SideView
    from mdic_ros.codec.encoder import BudgetError, Encoder
    from mdic_ros.models.row_offset import RowOffset

_MODULES = {
    "BitstreamError": "mdic_ros.codec.bitstream",
    "BitstreamInfo": "mdic_ros.codec.bitstream",
    "BudgetError": "mdic_ros.codec.encoder",
    "Bundle": "mdic_ros.codec.bundle",
    "BundleError": "mdic_ros.codec.bundle",
    "Decoder": "mdic_ros.codec.decoder",
    "Encoder": "mdic_ros.codec.encoder",
    "ParsedPacket": "mdic_ros.codec.decoder",
    "Reconstruction": "mdic_ros.codec.decoder",
    "RowOffset": "mdic_ros.models.row_offset",
    "SideView": "mdic_ros.codec.decoder",
    "View": "mdic_ros.codec.bitstream",
    "default_bundle": "mdic_ros.codec.bundle",
    "inspect": "mdic_ros.codec.bitstream",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
