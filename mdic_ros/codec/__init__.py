"""Image <-> bytes. `Encoder` runs on the robot, `Decoder` on the workstation."""

from mdic_ros.codec.bitstream import BitstreamError, BitstreamInfo, View, inspect
from mdic_ros.codec.bundle import Bundle, BundleError, default_bundle
from mdic_ros.codec.decoder import Decoder, Reconstruction
from mdic_ros.codec.encoder import BudgetError, Encoder
from mdic_ros.codec.rows import RowKeeper, RowOffset

__all__ = [
    "BitstreamError",
    "BitstreamInfo",
    "BudgetError",
    "Bundle",
    "BundleError",
    "Decoder",
    "Encoder",
    "Reconstruction",
    "RowKeeper",
    "RowOffset",
    "View",
    "default_bundle",
    "inspect",
]
