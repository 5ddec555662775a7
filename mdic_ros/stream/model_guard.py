"""Refuses streams of another model: with other weights the same bytes mean another, plausible picture."""

from __future__ import annotations

from mdic_ros.codec.bitstream import VERSION
from mdic_ros.stream.events import Event


class ModelGuard:
    """Compares what the stream says of its model with the decoder's own; reports every change once.

    StreamInfo carries the whole fingerprint, every packet its first byte. Either one that differs is enough to refuse.

    Args:
        model_id, fingerprint: of the decoder's bundle.
    """

    def __init__(self, model_id: str, fingerprint: str) -> None:
        self._model_id = model_id
        self._fingerprint = fingerprint
        self._stream_problem: str | None = None
        self._packet_problem: str | None = None
        self._told: str | None = None

    @property
    def problem(self) -> str | None:
        """Why packets are being refused now; None when they are not."""
        return self._stream_problem or self._packet_problem

    def announced(self, model_id: str, fingerprint: str, stream_version: int) -> Event | None:
        """A StreamInfo has come; what is new, if anything is."""
        self._packet_problem = None
        if stream_version != VERSION:
            self._stream_problem = (
                f"unknown container version {stream_version} (this decoder reads {VERSION}); all packets of the stream "
                "are dropped. Install the same release of mdic_ros on both ends."
            )
        elif fingerprint == self._fingerprint:
            self._stream_problem = None
        else:
            self._stream_problem = (
                f"wrong model: the stream is of {model_id} {fingerprint[:8]}, this decoder has {self._own}; "
                "all of its packets are dropped. Give both ends the same bundle (model)."
            )
        return self._news()

    def packet(self, fingerprint_byte: int) -> tuple[bool, Event | None]:
        """A packet has come: whether it may be decoded, and what is new."""
        if fingerprint_byte == int(self._fingerprint[:2], 16):
            self._packet_problem = None
        else:
            self._packet_problem = (
                f"wrong model: packets of a bundle whose fingerprint begins with {fingerprint_byte:02x}, "
                f"this decoder has {self._own}; they are dropped. Give both ends the same bundle (model)."
            )
        return self.problem is None, self._news()

    @property
    def _own(self) -> str:
        return f"{self._model_id} {self._fingerprint[:8]}"

    def _news(self) -> Event | None:
        if self.problem == self._told:
            return None
        self._told = self.problem
        if self.problem is None:
            return Event("info", f"the stream is of {self._own} now: decoding")
        return Event("error", self.problem)
