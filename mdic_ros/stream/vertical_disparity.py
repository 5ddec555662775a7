"""Rigs that are not quite rectified: by how many rows the cameras are off, measured while frames come."""

from __future__ import annotations

from mdic_ros.codec.decoder import Decoder, ParsedPacket, SideView
from mdic_ros.codec.images import Image
from mdic_ros.models.row_offset import MAX_ROWS, RowOffset


class VerticalDisparityTracker:
    """Measures the first ten frames of a stream and then every tenth, and combines the measurements.

    The offset of a rig is constant, and one frame of few bytes says little about it: nothing is corrected before the
    eleventh frame.
    """

    FIRST = EVERY = 10

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._rig: tuple[object, ...] = ()  # size and coded camera: an offset holds for these only
        self._known, self._frames = RowOffset(), 0

    def row_offset(self, packet: ParsedPacket, side: Image) -> float:
        """The offset for `SideView`, in rows of the coded size, measured on the frames before; measures when it is due.

        Args:
            packet: a packet as `Decoder.read` returns it.
            side: its side image, H x W x 3 uint8 RGB of the coded size.
        """
        if (rig := (side.shape, packet.info.view)) != self._rig:
            self._rig, self._known, self._frames = rig, RowOffset(), 0
        before = self.likely
        if self._frames < self.FIRST or self._frames % self.EVERY == 0:
            self._known = self._known.fuse(self._decoder.measure_rows(packet, SideView(side, before)))
        self._frames += 1
        return before

    @property
    def measured(self) -> RowOffset:
        """What the frames so far say, however few they are."""
        return self._known

    @property
    def likely(self) -> float:
        """What is corrected now, in rows of the coded size."""
        found = self._known.likely if self._frames >= self.FIRST else 0.0
        return max(-MAX_ROWS, min(MAX_ROWS, found))
