"""When to describe the side image anew: the captioner is the slowest stage, and scenes change slowly."""

from __future__ import annotations

from collections.abc import Callable

from mdic_ros.datasets.images import RGB


class CaptionKeeper:
    """Runs `captioner` on every N-th frame that has a side image, and keeps its last caption in between."""

    def __init__(self, captioner: Callable[[RGB], str]) -> None:
        self._captioner = captioner
        self._caption: str | None = None
        self._age = 0

    def caption(self, side: RGB | None, *, fixed: str, every: int) -> str:
        """The caption for a frame.

        fixed: a caption to use instead, unless it is empty. every: refresh after so many frames.
        Without a side image there is nothing to describe, and a caption of another moment would be made up:
        "".
        """
        if fixed:
            self._caption = None  # when it is taken back, describe what is there then
            return fixed
        if side is None:
            return ""
        if self._caption is None or self._age >= every:
            self._caption = self._captioner(side)
            self._age = 0
        self._age += 1
        return self._caption
