"""Refuses streams of another model: with other weights the same bytes mean another, plausible picture."""

from __future__ import annotations

from mdic_ros.codec.bitstream import VERSION
from mdic_ros.stream.events import Event


class ModelGuard:
    """Compares the model that a stream names with the decoder's own.

    StreamInfo carries the whole fingerprint, every packet its first byte. Either one that differs is enough to refuse a
    packet. Anybody can write that byte, so a packet that is refused says little about the stream: it is a `problem` of
    the stream only until a StreamInfo, or a packet that passed its check, has shown that the stream is of our model.

    Args:
        model_id, fingerprint: of the decoder's bundle.
    """

    def __init__(self, model_id: str, fingerprint: str) -> None:
        self._fingerprint = fingerprint
        self._own = f"{model_id} {fingerprint[:8]}"
        self._announced_problem = ""
        self._packet_problem = ""
        self._confirmed = False

    @property
    def problem(self) -> str:
        """Why no packet of the stream can be decoded now; empty when nothing is known to be wrong."""
        return self._announced_problem or ("" if self._confirmed else self._packet_problem)

    def announced(self, model_id: str, fingerprint: str, stream_version: int) -> Event | None:
        """A StreamInfo has come; returns what has changed by it."""
        before = self.problem
        if stream_version != VERSION:
            self._announced_problem = (
                f"unknown container version {stream_version} (this decoder reads {VERSION}); all packets of the stream "
                "are dropped. Install the same release of mdic_ros on both ends."
            )
        elif fingerprint != self._fingerprint:
            self._announced_problem = (
                f"the stream is of the model {model_id} {fingerprint[:8]}, this decoder has {self._own}; all of its "
                "packets are dropped. Give both ends the same model."
            )
        else:
            self._announced_problem = ""
            self._confirmed = True
        return self._news(before)

    def refuses(self, fingerprint_byte: int) -> str:
        """Why a packet with this byte in its header must not be decoded; empty if it may be."""
        if self._announced_problem:
            return self._announced_problem
        if fingerprint_byte == int(self._fingerprint[:2], 16):
            return ""
        difference = f"{fingerprint_byte:02x}, this decoder has {self._own}. Give both ends the same model."
        self._packet_problem = f"packets are of a model whose fingerprint begins with {difference}"
        return f"it is of a model whose fingerprint begins with {difference}"

    def confirmed(self) -> Event | None:
        """A packet has passed its check, which takes our model; returns what has changed by it."""
        before = self.problem
        self._confirmed = True
        return self._news(before)

    def _news(self, before: str) -> Event | None:
        if self.problem == before:
            return None
        if self.problem:
            return Event("error", self.problem, "model")
        return Event("info", f"the stream is of {self._own} now: decoding", "model")
