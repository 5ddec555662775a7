"""Variants of the codec: the whole, and ablations that leave out or exchange a part, to see what it is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mdic_ros.evaluation.sources import AGES


@dataclass(frozen=True)
class Variant:
    """One way to decode."""

    name: str
    meaning: str
    side: Literal["own", "none", "foreign"] | int = "own"  #: a number: its own side image that many frames before
    text: Literal["side", "none", "foreign"] = "side"  #: "side" = the caption of the side image that is used
    without: tuple[str, ...] = ()  #: blocks that are replaced, see `ablations`
    drop: int = 0  #: rows of the coded size by which the side image is moved down
    rectify: bool = False  #: the decoder measures that offset and corrects it
    against: str = "full"  #: the variant that it is compared with

    @property
    def needs_other(self) -> bool:
        """Whether it needs an image of another scene."""
        return "foreign" in (self.side, self.text)


FULL = Variant("full", "the whole codec")

ABLATIONS = (
    Variant("no side image", "decoded without side image and text", side="none"),
    Variant(
        "foreign side image", "side image (and its text) of another drive", side="foreign", against="no side image"
    ),
    Variant("no text", "side image, but no caption", text="none"),
    Variant("foreign text", "caption of another drive's side image", text="foreign"),
    Variant("without G1", "no cluster fusion: the quantised features as they are", without=("g1",)),
    Variant("without G2", "no gate on the side image's detail", without=("g2",)),
    Variant("open mask", "mask of ones: all of the side image counts as shared", without=("mask",)),
    Variant(
        "open mask, foreign side image",
        "mask of ones where nothing is shared: what the mask is for",
        side="foreign",
        without=("mask",),
        against="foreign side image",
    ),
    Variant("side image 2 pixels lower", "its own, moved down, as from a rig that is not quite rectified", drop=2),
    Variant(
        "side image 2 pixels lower, corrected",
        "by the offset that the decoder measures on the first ten images of the drive, or on all if there are fewer",
        drop=2,
        rectify=True,
    ),
    *(
        Variant(
            f"side image {n} frame{'s' * (n > 1)} old",
            f"its own, {n} frame{'s' * (n > 1)} before",
            side=n,
            against="no side image",
        )
        for n in AGES
    ),
)

BY_NAME = {variant.name: variant for variant in (FULL, *ABLATIONS)}
