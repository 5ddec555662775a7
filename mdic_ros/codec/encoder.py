"""The robot's half: image -> bytes. Runs on numpy and ONNX Runtime alone."""

from __future__ import annotations

import json
import os
import re
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from mdic_ros.codec.bitstream import View, pack_header
from mdic_ros.codec.bundle import ENCODER_SOURCES, INDEX, Bundle, BundleError
from mdic_ros.codec.clock import Clock
from mdic_ros.codec.entropy_coding import EntropyCoder
from mdic_ros.codec.images import Image, check_image, to_pixels
from mdic_ros.codec.limits import check_threads
from mdic_ros.codec.prior import load_prior
from mdic_ros.errors import MdicError

_CUDA = "CUDAExecutionProvider"


class BudgetError(MdicError):
    """Not even the coarsest rate point fits into `max_bytes`. `smallest` is what it would take, bytes."""

    def __init__(self, smallest: int, max_bytes: int) -> None:
        super().__init__(f"the coarsest rate point of this frame has {smallest} bytes, over the limit of {max_bytes}")
        self.smallest = smallest


class Encoder:
    """Encodes images with the robot's half of a bundle; never sees the side image.

    >>> encoder = Encoder.from_pretrained()
    >>> data = encoder.encode(image, max_bytes=150)

    Args:
        bundle: the model.
        device: "cpu", "cuda" or "cuda:1": where the networks run. The entropy coder runs on the CPU.
        threads: of the networks on the CPU, up to 256; 0 = as many as the process may use cores.

    Raises:
        BundleError: the robot's half of the bundle is not whole and undamaged.
        MdicError: this machine has no such device, or ONNX Runtime was built without it; too many threads.
    """

    def __init__(self, bundle: Bundle, device: str = "cpu", threads: int = 0) -> None:
        check_threads(threads)
        self.model_id, self.fingerprint = bundle.model_id, bundle.fingerprint
        self._identity = bytes.fromhex(bundle.fingerprint)
        prior = load_prior(bundle.check("entropy_model"))
        self._coder = EntropyCoder(prior, self._identity)
        self.rate_points: int = prior.scales
        self._networks = _session(bundle, device, threads)
        if len(self._networks.get_outputs()) != self.rate_points:
            raise BundleError(f"{bundle.path}: encoder and entropy_model are not of one model: copy the bundle again")
        #: Of the last image, milliseconds: tokens (all networks), entropy, total.
        self.timings: dict[str, float] = {}

    @classmethod
    def from_pretrained(cls, path: str | PathLike[str] | None = None, device: str = "cpu", threads: int = 0) -> Encoder:
        """Loads the robot's half of a bundle folder (see `bundle.ROBOT`); None = the shipped one. See the class."""
        return cls(Bundle(path), device, threads)

    def encode_all(self, image: Image, *, rate_point: int | None = None, view: View = "left") -> list[bytes]:
        """Encodes an image at every rate point, or at those up to one, in the time that the finest takes.

        Args:
            image: H x W x 3 uint8 RGB, from 64 x 128 to 4096 x 4096.
            rate_point: the finest wanted, 0 (coarsest) to `rate_points` - 1; None = all.
            view: the camera of the pair that it is of; the side image will be the other one's.

        Returns:
            One bitstream per rate point up to that, coarse to fine; never shorter than the one before.

        Raises:
            ImageError: no such image, or its size is out of range.
            ValueError: no such rate point or view.
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
            ImageError: no such image, or its size is out of range.
            ValueError: no such rate point or view.
        """
        streams = self._streams(image, view, self._count(rate_point), max_bytes)
        if max_bytes is None:
            return streams[-1]
        fitting = [stream for stream in streams if len(stream) <= max_bytes]
        if not fitting:
            raise BudgetError(len(streams[0]), max_bytes)
        return fitting[-1]

    def _count(self, rate_point: int | None) -> int:
        """Number of rate points up to this one."""
        if rate_point is None:
            return self.rate_points
        if not 0 <= rate_point < self.rate_points:
            raise ValueError(f"rate point {rate_point} is not in 0..{self.rate_points - 1}")
        return rate_point + 1

    def _streams(self, image: Image, view: View, count: int, max_bytes: int | None = None) -> list[bytes]:
        """The first `count` rate points; none behind the first that is over `max_bytes`."""
        clock = Clock()
        check_image(image)
        height, width = image.shape[:2]
        headers = [pack_header(r, self._identity, height, width, view) for r in range(self.rate_points)]
        tokens = self._tokens(image, view, count)
        clock.lap("tokens")
        budget = None if max_bytes is None else max_bytes - len(headers[0])
        payloads = self._coder.encode(tokens, headers[-1], budget)
        clock.lap("entropy")
        self.timings = clock.timings()
        return [header + payload for header, payload in zip(headers, payloads)]

    def _tokens(self, image: Image, view: View, count: int) -> list[npt.NDArray[np.int64]]:
        """The first `count` token grids of an image, coarse to fine."""
        names = [output.name for output in self._networks.get_outputs()[:count]]
        # Asked for fewer outputs it still computes all; the finer ones cost little.
        return self._networks.run(names, {"pixels": to_pixels(image, mirror=view == "right")})


def usable_device(device: str) -> str:
    """The device for the encoder beside a decoder on this one: "cpu" if ONNX Runtime was installed without CUDA."""
    return device if _CUDA in onnxruntime.get_available_providers() else "cpu"


def _session(bundle: Bundle, device: str, threads: int) -> onnxruntime.InferenceSession:
    """The networks of a bundle's encoder.

    Raises:
        BundleError, MdicError: see `Encoder`.
    """
    folder = bundle.check("encoder")
    options = onnxruntime.SessionOptions()
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    # Threads that wait must sleep: spinning, they take the processor from everything else on the robot.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.enable_mem_pattern = False  # would plan memory for each image size anew, and keep more of it
    options.log_severity_level = 3  # errors only: its warnings are for its developers
    providers = _providers(device)
    try:
        made_of = json.loads((folder / "config.json").read_text(encoding="utf-8"))["made_of"]
        session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=providers)
    except Exception as error:  # ONNX Runtime raises many kinds on files that do not fit
        raise BundleError(f"{folder} cannot be loaded: {error}") from error
    if made_of != bundle.listed(*ENCODER_SOURCES):
        raise BundleError(
            f"{folder} was made of other weights than those that {INDEX} lists: make it again with `mdic export`"
        )
    if session.get_providers()[0] != providers[0][0]:  # it goes on with the CPU where libraries are missing
        raise MdicError(f"ONNX Runtime cannot use {device} here: CUDA or cuDNN is missing, or of another version")
    return session


def _providers(device: str) -> list[tuple[str, dict[str, Any]]]:
    """ONNX Runtime's name for a device, with its options."""
    match = re.fullmatch(r"cpu|cuda(?::(\d+))?", device)
    if not match:
        raise MdicError(f"no device {device!r}: the encoder runs on cpu, cuda or cuda:NUMBER")
    if device == "cpu":
        return [("CPUExecutionProvider", {})]
    if _CUDA not in onnxruntime.get_available_providers():
        raise MdicError(
            f"this ONNX Runtime cannot use {device}: pip install onnxruntime-gpu in place of onnxruntime, or take cpu"
        )
    # TF32 would change tokens for a little speed.
    return [(_CUDA, {"device_id": int(match[1] or 0), "use_tf32": 0})]
