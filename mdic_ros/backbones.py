"""Pretrained networks that figures of merit and losses look through: from local files, checked, never downloaded.

The plain architectures are built here because the libraries that have them need torchvision. Module names are those of
the published files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from mdic_ros.errors import MdicError


@dataclass(frozen=True)
class WeightsFile:
    """A published file.

    Attributes:
        name: file name in the weights folder.
        sha256: its digest in hex, or as many first digits as its publisher gives.
        url: where the publisher has it.
    """

    name: str
    sha256: str
    url: str


FILES: Mapping[str, WeightsFile] = {
    "vgg16": WeightsFile("vgg16-397923af.pth", "397923af", "https://download.pytorch.org/models/vgg16-397923af.pth"),
    "alexnet": WeightsFile(
        "alexnet-owt-7be5be79.pth", "7be5be79", "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
    ),
    "inception": WeightsFile(
        "pt_inception-2015-12-05-6726825d.pth",
        "6726825d",
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    ),
    "niqe": WeightsFile(
        "niqe_pris_params.npz",
        "2a7c182a68c9e7f1b2e2e5ec723279d6f65d912b6fcaf37eb2bf03d7367c4296",
        "https://raw.githubusercontent.com/XPixelGroup/BasicSR/v1.4.2/basicsr/metrics/niqe_pris_params.npz",
    ),
}


class WeightsError(MdicError):
    """A file of weights that is damaged, or another one than its name says."""


class Missing(MdicError):
    """Something that a figure needs is not here. The message says what, and how to get it."""


def locate(folder: Path | None, file: WeightsFile) -> Path:
    """Path of a file in the weights folder, its digest checked.

    Raises:
        Missing: there is no such file, or no folder.
        WeightsError: the file is another one than its name says.
    """
    if folder is None or not (folder / file.name).is_file():
        raise Missing(f"needs {file.name} in the folder of weights; get it with: curl -LO {file.url}")
    path = folder / file.name
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if not found.startswith(file.sha256):
        raise WeightsError(
            f"{path} is damaged or another file: its SHA-256 begins with {found[:8]} and should begin with "
            f"{file.sha256[:8]}. Get it again with: curl -LO {file.url}"
        )
    return path


def device() -> torch.device:
    """Where the networks run: this process's GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _state(path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _frozen(net: nn.Module, state: Mapping[str, Tensor]) -> None:
    net.load_state_dict(state)
    net.requires_grad_(False).eval().to(device())


# ------------------------------------------------------------------------------------------------ VGG16 and AlexNet


class L2Pool(nn.Module):
    """DISTS' pooling: the root of the locally weighted mean square, at half the size."""

    def forward(self, features: Tensor) -> Tensor:
        window = torch.tensor([0.25, 0.5, 0.25], dtype=features.dtype, device=features.device)
        weight = torch.outer(window, window).expand(features.shape[1], 1, 3, 3)
        power = functional.conv2d(features**2, weight, stride=2, padding=1, groups=features.shape[1])
        return (power + 1e-12).sqrt()


class Stages(nn.Module):
    """The convolutional part of a classifier, which gives the features after some of its layers.

    Args:
        layers: torchvision's `features` of the net.
        taps: indices of the layers whose outputs are wanted.
        path: the published weights, with keys features.N.weight and features.N.bias and more that is not used.
    """

    def __init__(self, layers: Sequence[nn.Module], taps: Sequence[int], path: Path) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers[: taps[-1] + 1])
        self.taps = tuple(taps)
        state = _state(path)
        _frozen(self, {key: state[key] for key in self.state_dict()})

    def forward(self, images: Tensor) -> list[Tensor]:
        """N x 3 x H x W, normalised as the metric wants it -> features of each tap, N x C x h x w."""
        found = []
        for number, layer in enumerate(self.features):
            images = layer(images)
            if number in self.taps:
                found.append(images)
        return found


def vgg16(path: Path, pool: type[nn.Module] | None = None) -> Stages:
    """VGG16 (ImageNet, torchvision IMAGENET1K_V1): features of relu1_2, 2_2, 3_3, 4_3 and 5_3.

    Args:
        pool: takes the place of the max pooling (DISTS).
    """
    layers: list[nn.Module] = []
    channels = 3
    for block, (width, convolutions) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))):
        if block:
            layers.append(pool() if pool else nn.MaxPool2d(2))
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
    return Stages(layers, (3, 8, 15, 22, 29), path)


def alexnet(path: Path) -> Stages:
    """AlexNet (ImageNet, torchvision IMAGENET1K_V1): features of its five ReLUs."""
    layers = [
        nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
    ]  # fmt: skip
    return Stages(layers, (1, 4, 7, 9, 11), path)


# ------------------------------------------------------------------------------------------------------------ LPIPS


def learned_heads(*parts: str) -> dict[str, Tensor]:
    """Learned weights of LPIPS and DISTS, a few kB, which torchmetrics' wheel contains."""
    import torchmetrics

    return _state(Path(torchmetrics.__file__).parent.joinpath("functional", "image", *parts))


class Lpips(nn.Module):
    """LPIPS 0.1 (Zhang et al. 2018, arXiv 1801.03924): weighted squared differences of normalised features.

    Args:
        net: features of VGG16 or AlexNet.
        head: that net's weights in torchmetrics, "vgg" or "alex".
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, net: Stages, head: str) -> None:
        super().__init__()
        heads = learned_heads("lpips_models", f"{head}.pth")
        self.net = net
        self.heads = nn.ParameterList(heads[f"lin{number}.model.1.weight"] for number in range(len(net.taps)))
        for name, values in (("shift", (-0.030, -0.088, -0.188)), ("scale", (0.458, 0.448, 0.450))):
            self.register_buffer(name, torch.tensor(values)[:, None, None])
        self.requires_grad_(False).eval().to(device())

    def _features(self, images: Tensor) -> list[Tensor]:
        found = self.net((images - self.shift) / self.scale)
        return [f / (f.square().sum(1, keepdim=True) + 1e-8).sqrt() for f in found]

    def forward(self, pictures: Tensor, originals: Tensor) -> Tensor:
        """Distance of each picture from its original, (B, 3, H, W) in [-1, 1]: (B,), 0 = alike; differentiable."""
        with torch.autocast(pictures.device.type, enabled=False):  # squares of features are too much for half precision
            pairs = zip(self._features(pictures.float()), self._features(originals.float()), self.heads, strict=True)
            return torch.stack([((a - b).square() * head).sum(1).mean((1, 2)) for a, b, head in pairs]).sum(0)


# --------------------------------------------------------------------------------------------------- FID's Inception

Kernel = int | tuple[int, int]
Branches = Mapping[str, Sequence[tuple[int, *tuple[Kernel, ...]]]]  # channels out, kernels; see _Mixed


class _Conv(nn.Module):
    """Convolution, batch normalisation, ReLU; padded to keep the size unless told otherwise."""

    def __init__(self, inputs: int, outputs: int, kernel: Kernel, stride: int = 1, padded: bool = True) -> None:
        super().__init__()
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (size[0] // 2, size[1] // 2) if padded else 0
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)))


class _Mixed(nn.Module):
    """An Inception block: branches side by side, and one that pools, concatenated.

    Args:
        inputs: channels that come in.
        branches: per name its convolutions: channels out, then the kernel. Two kernels act side by side, each giving as
            many channels. A name with several convolutions numbers them, the two of a fork are a and b.
        pool: "mean" (without the padding, as in TensorFlow) and "max" keep the size; "halve" is max pooling with stride
            2, and then the last convolution of each branch has stride 2, too.
        pooled: channels of the convolution after the pooling, 0 = none.
    """

    def __init__(
        self,
        inputs: int,
        branches: Branches,
        pool: Literal["mean", "max", "halve"],
        pooled: int = 0,
    ) -> None:
        super().__init__()
        self.branches: list[list[list[str]]] = []
        for name, convolutions in branches.items():
            channels, steps = inputs, []
            for number, (outputs, *kernels) in enumerate(convolutions, 1):
                stem = f"{name}_{number}" if len(convolutions) > 1 else name
                names = [stem] if len(kernels) == 1 else [stem + letter for letter in "ab"]
                halved = pool == "halve" and number == len(convolutions)
                for child, kernel in zip(names, kernels, strict=True):
                    self.add_module(child, _Conv(channels, outputs, kernel, 2 if halved else 1, not halved))
                steps.append(names)
                channels = outputs
            self.branches.append(steps)
        self.pool = pool
        if pooled:
            self.branch_pool = _Conv(inputs, pooled, 1)
        self.pooled = pooled

    def forward(self, x: Tensor) -> Tensor:
        found = []
        for steps in self.branches:
            features = x
            for names in steps:
                features = torch.cat([self.get_submodule(name)(features) for name in names], 1)
            found.append(features)
        if self.pool == "halve":
            pooled = functional.max_pool2d(x, 3, 2)
        elif self.pool == "max":
            pooled = functional.max_pool2d(x, 3, 1, 1)
        else:
            pooled = functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        found.append(self.branch_pool(pooled) if self.pooled else pooled)
        return torch.cat(found, 1)


def _block_a(inputs: int, pooled: int) -> _Mixed:
    branches: Branches = {
        "branch1x1": [(64, 1)],
        "branch5x5": [(48, 1), (64, 5)],
        "branch3x3dbl": [(64, 1), (96, 3), (96, 3)],
    }
    return _Mixed(inputs, branches, "mean", pooled)


def _block_c(inner: int) -> _Mixed:
    wide, tall = (1, 7), (7, 1)
    branches: Branches = {
        "branch1x1": [(192, 1)],
        "branch7x7": [(inner, 1), (inner, wide), (192, tall)],
        "branch7x7dbl": [(inner, 1), (inner, tall), (inner, wide), (inner, tall), (192, wide)],
    }
    return _Mixed(768, branches, "mean", 192)


def _block_e(inputs: int, pool: Literal["mean", "max"]) -> _Mixed:
    wide, tall = (1, 3), (3, 1)
    branches: Branches = {
        "branch1x1": [(320, 1)],
        "branch3x3": [(384, 1), (384, wide, tall)],
        "branch3x3dbl": [(448, 1), (384, 3), (384, wide, tall)],
    }
    return _Mixed(inputs, branches, pool, 192)


class FidInception(nn.Module):
    """The Inception v3 of FID (TensorFlow, 2015-12-05), up to its 2048 pooled features.

    Szegedy et al. 2015, with the deviations of the TensorFlow graph that FID was defined on: means that leave the
    padding out, and max pooling in the last block.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Conv(3, 32, 3, stride=2, padded=False)
        self.Conv2d_2a_3x3 = _Conv(32, 32, 3, padded=False)
        self.Conv2d_2b_3x3 = _Conv(32, 64, 3)
        self.Conv2d_3b_1x1 = _Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = _Conv(80, 192, 3, padded=False)
        self.Mixed_5b = _block_a(192, 32)
        self.Mixed_5c = _block_a(256, 64)
        self.Mixed_5d = _block_a(288, 64)
        self.Mixed_6a = _Mixed(288, {"branch3x3": [(384, 3)], "branch3x3dbl": [(64, 1), (96, 3), (96, 3)]}, "halve")
        self.Mixed_6b = _block_c(128)
        self.Mixed_6c = _block_c(160)
        self.Mixed_6d = _block_c(160)
        self.Mixed_6e = _block_c(192)
        self.Mixed_7a = _Mixed(
            768,
            {"branch3x3": [(192, 1), (320, 3)], "branch7x7x3": [(192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3)]},
            "halve",
        )
        self.Mixed_7b = _block_e(1280, "mean")
        self.Mixed_7c = _block_e(2048, "max")
        state = _state(path)
        _frozen(self, {key: value for key, value in state.items() if not key.startswith("fc.")})  # the classifier

    def forward(self, images: Tensor) -> Tensor:
        """N x 3 x H x W in 0..255 -> N x 2048; resized to 299x299, bilinear with antialiasing, as torchmetrics does."""
        x = functional.interpolate(images, (299, 299), mode="bilinear", antialias=True)
        x = (x - 128) / 128
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = functional.max_pool2d(x, 3, 2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = functional.max_pool2d(x, 3, 2)
        for name, block in self.named_children():
            if name.startswith("Mixed"):
                x = block(x)
        return x.mean((2, 3))
