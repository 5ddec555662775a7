"""The codec as it is meant, and with something left out or exchanged, to see what each part is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mdic_ros.evaluation.sources import AGES


@dataclass(frozen=True)
class Variant:
    """One way to decode."""

    name: str
    meaning: str
    side: Literal["own", "none", "foreign"] | int = "own"  #: a number: its own, but so many frames old
    text: Literal["side", "none", "foreign"] = "side"  #: "side" = what the captioner says of the side image used
    without: tuple[str, ...] = ()  #: blocks that are replaced, see `ablations`
    drop: int = 0  #: pixels of the coded size that the side image is lower than in a rectified pair
    rectify: bool = False  #: what the decoder measures of that is corrected
    against: str = "full"  #: the variant that it is compared with

    @property
    def needs_other(self) -> bool:
        """Takes something from another scene."""
        return "foreign" in (self.side, self.text)


FULL = Variant("full", "everything as it is meant")

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
    Variant("side image 2 pixels lower", "its own, as from cameras that are not quite rectified", drop=2),
    Variant(
        "side image 2 pixels lower, corrected",
        "by what the decoder measures on the first ten images of the drive, or on those that there are",
        drop=2,
        rectify=True,
    ),
    *(
        Variant(
            f"side image {n} frame{'s' * (n > 1)} old",
            "its own, but from so many frames before",
            side=n,
            against="no side image",
        )
        for n in AGES
    ),
)

BY_NAME = {variant.name: variant for variant in (FULL, *ABLATIONS)}
