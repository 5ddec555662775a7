"""When to describe the side image anew: the captioner is the slowest stage, and scenes change slowly."""

from __future__ import annotations

from collections.abc import Callable

from mdic_ros.codec.images import Image


class CaptionKeeper:
    """Runs `captioner` on every N-th frame that has a side image, and keeps its last caption in between."""

    def __init__(self, captioner: Callable[[Image], str]) -> None:
        self._captioner = captioner
        self._caption: str | None = None
        self._age = 0

    def caption(self, side: Image | None, *, fixed: str | None, every: int) -> str:
        """The caption for a frame.

        Args:
            side: the side image, H x W x 3 uint8 RGB. Without one there is nothing to describe: "".
            fixed: a caption to use instead ("" for none); None to look at the side image.
            every: N; the captioner runs on every N-th frame.
        """
        if fixed is not None:
            self._caption = None  # when it is taken back, the scene is described as it is then
            return fixed
        if side is None:
            return ""
        if self._caption is None or self._age >= every:
            self._caption = self._captioner(side)
            self._age = 0
        self._age += 1
        return self._caption
