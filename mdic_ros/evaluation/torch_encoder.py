"""The encoder's networks in PyTorch, as training runs them, to compare ONNX Runtime with."""

from __future__ import annotations

from functools import partial
from os import PathLike

import torch

from mdic_ros.codec.bitstream import pack_header
from mdic_ros.codec.bundle import ENCODER_SOURCES, Bundle
from mdic_ros.codec.clock import Clock
from mdic_ros.codec.components import load
from mdic_ros.codec.entropy_coding import EntropyCoder
from mdic_ros.codec.images import Image, to_pixels
from mdic_ros.codec.prior import load_prior
from mdic_ros.models.autoencoder import encode_latent


class TorchEncoder:
    """Encodes images as `Encoder` does, but for the networks."""

    def __init__(self, bundle: Bundle, device: str = "cpu", threads: int = 0) -> None:
        if threads:
            torch.set_num_threads(threads)
        self._device = torch.device(device)
        self._identity = bytes.fromhex(bundle.fingerprint)
        vae, self._hyper_align, self._quantizer = (load(bundle, name, device) for name in ENCODER_SOURCES)
        del vae.decoder, vae.post_quant_conv  # the workstation's half
        self._vae = vae.to(memory_format=torch.channels_last)
        self._hyper_align = self._hyper_align.to(memory_format=torch.channels_last)
        self._coder = EntropyCoder(load_prior(bundle.check("entropy_model")), self._identity)
        #: Of the last image, milliseconds: tokens, entropy, total.
        self.timings: dict[str, float] = {}

    @classmethod
    def from_pretrained(
        cls, path: str | PathLike[str] | None = None, device: str = "cpu", threads: int = 0
    ) -> TorchEncoder:
        """As `Encoder.from_pretrained`."""
        return cls(Bundle(path), device, threads)

    @torch.inference_mode()
    def encode(self, image: Image, rate_point: int | None = None) -> bytes:
        """Encodes the left image of a pair, H x W x 3 uint8 RGB, at a rate point; None = the finest."""
        clock = Clock(partial(torch.cuda.synchronize, self._device) if self._device.type == "cuda" else None)
        point = self._coder.prior.scales - 1 if rate_point is None else rate_point
        header = pack_header(point, self._identity, *image.shape[:2])
        z = encode_latent(self._vae, torch.from_numpy(to_pixels(image)).to(self._device))
        grids = self._quantizer(self._hyper_align(z))[1]
        tokens = [grid[0].cpu().numpy() for grid in grids[: point + 1]]
        clock.lap("tokens")
        payloads = self._coder.encode(tokens, header)
        clock.lap("entropy")
        self.timings = clock.timings()
        return header + payloads[-1]
