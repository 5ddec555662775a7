"""Which text conditions a frame, and when the captioner runs: it is the slowest stage, and scenes change slowly."""

from __future__ import annotations

from collections.abc import Callable

from mdic_ros.codec.images import Image

#: Words that stand for no sentence: let the captioner describe the side image; decode without text.
AUTO, NONE = "auto", "none"


class CaptionKeeper:
    """Runs `captioner` on every N-th frame that has a side image, and keeps its last caption in between."""

    def __init__(self, captioner: Callable[[Image], str]) -> None:
        self._captioner = captioner
        self._caption: str | None = None
        self._age = 0

    def caption(self, side: Image | None, *, wanted: str, every: int) -> str:
        """The caption for a frame; "" is no text.

        Args:
            side: the side image, H x W x 3 uint8 RGB. Without one the captioner has nothing to describe: no text.
            wanted: a sentence, `none` or "" for no text, or `auto` for the captioner's.
            every: N; the captioner runs on every N-th frame.
        """
        if wanted != AUTO:
            self._caption = None  # a later `auto` describes the scene as it is then
            return "" if wanted == NONE else wanted
        if side is None:
            return ""
        if self._caption is None or self._age >= every:
            self._caption = self._captioner(side)
            self._age = 0
        self._age += 1
        return self._caption
