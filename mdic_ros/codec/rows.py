"""Rigs that are not quite rectified: their row offset, measured while frames come."""

from __future__ import annotations

from mdic_ros.codec.bitstream import inspect
from mdic_ros.codec.decoder import MAX_ROWS, Decoder
from mdic_ros.codec.images import Image
from mdic_ros.models.row_offset import RowOffset


class RowKeeper:
    """Measures the first ten frames of a stream and then every tenth, and says what they have in common.

    A rig's offset stays, and one frame of few bytes says little of it: nothing is corrected before the eleventh.
    """

    FIRST = EVERY = 10

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._rig: tuple[object, ...] = ()  # what an offset is of: in rows of this size, seen from this camera
        self._known, self._frames = RowOffset(), 0

    def row_offset(self, data: bytes, side: Image | None) -> float:
        """For `Decoder.decode`: rows of the coded size; 0 without a side image.

        Raises:
            BitstreamError, ValueError: as `Decoder.decode`.
        """
        if side is None:
            return 0.0
        if (rig := (side.shape, inspect(data).view)) != self._rig:
            self._rig, self._known, self._frames = rig, RowOffset(), 0
        before = self.likely
        if self._frames < self.FIRST or self._frames % self.EVERY == 0:
            self._known = self._known.and_then(self._decoder.measure_rows(data, side, before))
        self._frames += 1
        return before

    @property
    def likely(self) -> float:
        """What is corrected now, rows of the coded size."""
        found = self._known.likely if self._frames >= self.FIRST else 0.0
        return max(-MAX_ROWS, min(MAX_ROWS, found))
