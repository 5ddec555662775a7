"""The robot's half: image -> bytes."""

from __future__ import annotations

from os import PathLike

import torch

from mdic_ros.codec.bitstream import View, pack_header
from mdic_ros.codec.bundle import Bundle
from mdic_ros.codec.clock import Clock
from mdic_ros.codec.components import load
from mdic_ros.codec.entropy_coding import EntropyCoder
from mdic_ros.codec.images import Image, to_pixels
from mdic_ros.errors import MdicError
from mdic_ros.models.autoencoder import encode_latent


class BudgetError(MdicError):
    """Not even the coarsest rate point fits into `max_bytes`. `smallest` is what it would take, bytes."""

    def __init__(self, smallest: int, max_bytes: int) -> None:
        super().__init__(f"the coarsest rate point of this frame has {smallest} bytes, over the limit of {max_bytes}")
        self.smallest = smallest


class Encoder:
    """Encodes images with the robot's half of a bundle; never sees the side image.

    >>> encoder = Encoder.from_pretrained()
    >>> data = encoder.encode(image, max_bytes=150)
    """

    def __init__(self, bundle: Bundle, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self.model_id, self.fingerprint = bundle.model_id, bundle.fingerprint
        vae, self._hyper_align, self._quantizer, prior = (
            load(bundle, name, device) for name in ("vae", "hyper_align", "quantizer", "entropy_model")
        )
        del vae.decoder, vae.post_quant_conv  # the workstation's half
        self._vae = vae.to(memory_format=torch.channels_last)
        self._hyper_align = self._hyper_align.to(memory_format=torch.channels_last)
        self._coder = EntropyCoder(prior, bytes.fromhex(bundle.fingerprint))
        self.rate_points: int = prior.scales
        #: Of the last image, milliseconds: autoencoder, features, tokens, entropy, total.
        self.timings: dict[str, float] = {}

    @classmethod
    def from_pretrained(cls, path: str | PathLike[str] | None = None, device: str | torch.device = "cpu") -> Encoder:
        """Loads the robot's half of a bundle folder (see `bundle.ROBOT`); None = the shipped one.

        Raises:
            BundleError: the folder is no whole, undamaged bundle.
        """
        return cls(Bundle(path), device)

    def encode_all(self, image: Image, *, rate_point: int | None = None, view: View = "left") -> list[bytes]:
        """Encodes an image at every rate point, or those up to one, for the price of the finest.

        Args:
            image: H x W x 3 uint8 RGB, from 64 x 128 to 4096 x 4096.
            rate_point: the finest wanted, 0 (coarsest) to `rate_points` - 1; None = all.
            view: the camera of the pair that it is of; the side image will be the other one's.

        Returns:
            One bitstream per rate point up to that, coarse to fine; never shorter than the one before.

        Raises:
            ValueError: no such image, rate point or view, or its size is out of range.
        """
        return self._streams(image, view, self._count(rate_point))

    def encode(
        self, image: Image, *, rate_point: int | None = None, max_bytes: int | None = None, view: View = "left"
    ) -> bytes:
        """Encodes an image.

        Args:
            image: H x W x 3 uint8 RGB, from 64 x 128 to 4096 x 4096.
            rate_point: 0 (coarsest) to `rate_points` - 1; None = the finest.
            max_bytes: upper limit of the bitstream's size; the finest rate point that fits, up to `rate_point`.
            view: the camera of the pair that it is of; the side image will be the other one's.

        Returns:
            The bitstream, header and checks included.

        Raises:
            BudgetError: not even rate point 0 fits into `max_bytes`.
            ValueError: no such image, size, rate point or view.
        """
        streams = self._streams(image, view, self._count(rate_point), max_bytes)
        if max_bytes is None:
            return streams[-1]
        fitting = [stream for stream in streams if len(stream) <= max_bytes]
        if not fitting:
            raise BudgetError(len(streams[0]), max_bytes)
        return fitting[-1]

    def _count(self, rate_point: int | None) -> int:
        """How many rate points there are up to this one."""
        if rate_point is None:
            return self.rate_points
        if not 0 <= rate_point < self.rate_points:
            raise ValueError(f"rate point {rate_point} is not in 0..{self.rate_points - 1}")
        return rate_point + 1

    @torch.inference_mode()
    def _streams(self, image: Image, view: View, count: int, max_bytes: int | None = None) -> list[bytes]:
        """The first `count` rate points; none behind the first that is over `max_bytes`."""
        clock = Clock(self.device)
        pixels = torch.from_numpy(to_pixels(image, mirror=view == "right")).to(self.device)
        identity = bytes.fromhex(self.fingerprint)
        headers = [pack_header(r, identity, image.shape[0], image.shape[1], view) for r in range(self.rate_points)]
        z = encode_latent(self._vae, pixels)
        clock.lap("autoencoder")
        features = self._hyper_align(z)
        clock.lap("features")
        indices = self._quantizer(features)[1]
        clock.lap("tokens")
        budget = None if max_bytes is None else max_bytes - len(headers[0])
        payloads = self._coder.encode([tokens[0] for tokens in indices[:count]], headers[-1], budget)
        clock.lap("entropy")
        self.timings = clock.timings()
        return [header + payload for header, payload in zip(headers, payloads)]
