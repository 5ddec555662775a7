"""All metrics: those that can be computed here, and those that cannot, with the files that they need.

Metrics of distortion and of realism always work. LPIPS, DISTS, FID, KID, NIQE and mIoU need pretrained networks whose
files the user supplies (`--weights FOLDER`); nothing is ever downloaded.
"""

from __future__ import annotations

import functools
import hashlib
import math
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mdic_ros import backbones
from mdic_ros.backbones import (
    FILES,
    FidInception,
    L2Pool,
    Lpips,
    Missing,
    Stages,
    WeightsError,
    WeightsFile,
    learned_heads,
    locate,
)
from mdic_ros.evaluation import metrics, realism
from mdic_ros.evaluation.errors import EvaluationError
from mdic_ros.evaluation.metrics import Image, ImageMetric, NotComputed, SetMetric
from mdic_ros.evaluation.niqe import Niqe

__all__ = ["ImageMetric", "NotComputed", "SetMetric", "load_metrics"]

SEGMENTATION = "segmentation"  #: folder in the weights folder


def _tensor(image: Image) -> Tensor:
    """1 x 3 x H x W float in 0..255 on the networks' device."""
    return torch.tensor(image, device=backbones.device()).permute(2, 0, 1)[None].float()


# ------------------------------------------------------------------------------------------------ LPIPS and DISTS


@torch.inference_mode()
def _distance(lpips: Lpips, image: Image, original: Image) -> float:
    """LPIPS of two H x W x 3 uint8 RGB images of one size, 0 = alike."""
    return float(lpips(_tensor(image) / 127.5 - 1, _tensor(original) / 127.5 - 1))


class Dists:
    """DISTS (Ding et al. 2020, arXiv 2004.07728): similarity of the features' means (texture) and structure."""

    def __init__(self, path: Path) -> None:
        heads = {k: v.to(backbones.device()) for k, v in learned_heads("dists_models", "weights.pt").items()}
        total = heads["alpha"].sum() + heads["beta"].sum()
        sizes = (3, 64, 128, 256, 512, 512)
        self.texture, self.structure = ((heads[name] / total).split(sizes, dim=1) for name in ("alpha", "beta"))
        self.net = backbones.vgg16(path, L2Pool)
        self.mean, self.deviation = (
            torch.tensor(values, device=backbones.device())[:, None, None]
            for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        )

    def _features(self, image: Image) -> list[Tensor]:
        pixels = _tensor(image) / 255
        return [pixels, *self.net((pixels - self.mean) / self.deviation)]

    @torch.inference_mode()
    def __call__(self, image: Image, original: Image) -> float:
        """Distance of two H x W x 3 uint8 RGB images of one size, 0 = alike."""
        similarity = torch.zeros((), device=backbones.device())
        features = zip(self._features(image), self._features(original), self.texture, self.structure, strict=True)
        for a, b, alpha, beta in features:
            mean_a, mean_b = a.mean((2, 3), keepdim=True), b.mean((2, 3), keepdim=True)
            variances = (a - mean_a).square().mean((2, 3), True) + (b - mean_b).square().mean((2, 3), True)
            covariance = (a * b).mean((2, 3), True) - mean_a * mean_b
            similarity += (alpha * (2 * mean_a * mean_b + 1e-6) / (mean_a**2 + mean_b**2 + 1e-6)).sum()
            similarity += (beta * (2 * covariance + 1e-6) / (variances + 1e-6)).sum()
        return float(1 - similarity)


# ------------------------------------------------------------------------------------------------------ FID and KID


class _CachedOutputs:
    """A cache of a network's outputs for the images of the last few sets.

    A report compares many sets of pictures with the same originals, and FID and KID ask for the same features.
    """

    def __init__(self, answer: Callable[[Image], Tensor], sets: int = 4) -> None:
        self.answer = answer
        self.sets = sets
        self.kept: OrderedDict[bytes, list[Tensor]] = OrderedDict()

    def __call__(self, images: Sequence[Image]) -> list[Tensor]:
        digest = hashlib.sha256()
        for image in images:
            digest.update(str(image.shape).encode() + np.ascontiguousarray(image).data)
        key = digest.digest()
        if key not in self.kept:
            self.kept[key] = [self.answer(image) for image in images]
            if len(self.kept) > self.sets:
                self.kept.popitem(last=False)
        self.kept.move_to_end(key)
        return self.kept[key]


class _Identity(nn.Module):
    """In place of a network where torchmetrics gets features instead of images."""

    def __init__(self, num_features: int = 2048) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


class InceptionDistances:
    """FID (Heusel et al. 2017) and KID (Binkowski et al. 2018) between two sets, by torchmetrics."""

    def __init__(self, path: Path) -> None:
        net = FidInception(path)

        @torch.inference_mode()
        def features(image: Image) -> Tensor:
            found: Tensor = net(_tensor(image))
            return found.cpu()

        self.features = _CachedOutputs(features)

    def fid(self, pictures: Sequence[Image], originals: Sequence[Image]) -> float:
        """Frechet distance of the features of two sets; nan for less than two pictures."""
        from torchmetrics.image.fid import FrechetInceptionDistance

        if len(pictures) < 2:
            return math.nan
        ours, theirs = (torch.cat(self.features(images)).double() for images in (pictures, originals))
        if len(ours) + len(theirs) < ours.shape[1]:
            # Few pictures span few of the 2048 dimensions. The distance is the same in a basis of those alone, and a
            # root of a small matrix takes no time.
            basis = torch.linalg.qr(torch.cat([ours, theirs]).T).Q
            ours, theirs = ours @ basis, theirs @ basis
        # Each process asks for itself: without this torchmetrics gathers the others' features, and waits for them.
        metric = FrechetInceptionDistance(_Identity(ours.shape[1]), sync_on_compute=False)
        metric.update(theirs, real=True)
        metric.update(ours, real=False)
        return float(metric.compute())

    def kid(self, pictures: Sequence[Image], originals: Sequence[Image]) -> float:
        """Unbiased squared MMD of the features of two sets (cubic kernel); nan for less than two pictures.

        Up to 1000 pictures are one subset; of more, 100 seeded subsets of 1000 are averaged.
        """
        from torchmetrics.image.kid import KernelInceptionDistance

        if len(pictures) < 2:
            return math.nan
        size = min(1000, len(pictures))
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.filterwarnings("ignore", "Metric `Kernel Inception Distance` will save")
            metric = KernelInceptionDistance(
                _Identity(), subsets=100 if len(pictures) > size else 1, subset_size=size, sync_on_compute=False
            )
            metric.update(torch.cat(self.features(originals)), real=True)
            metric.update(torch.cat(self.features(pictures)), real=False)
            torch.manual_seed(0)
            return float(metric.compute()[0])


# ------------------------------------------------------------------------------------------------------------- mIoU


class Segmentation:
    """A semantic segmentation network in transformers' format.

    Args:
        weights: folder whose folder segmentation/ holds config.json, preprocessor_config.json and model.safetensors, of
            a SegFormer for example.

    Raises:
        Missing: one of the files is not there.
        WeightsError: they are damaged, or of a network that does not segment.
    """

    def __init__(self, weights: Path | None) -> None:
        from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

        files = ("config.json", "preprocessor_config.json", "model.safetensors")
        folder = weights / SEGMENTATION if weights else None
        if folder is None or not all((folder / name).is_file() for name in files):
            raise Missing(
                f"needs {SEGMENTATION}/ with {', '.join(files)} in --weights FOLDER; get one with: hf download "
                "nvidia/segformer-b5-finetuned-cityscapes-1024-1024 --revision refs/pr/3 --exclude '*.bin' '*.h5' "
                f"--local-dir FOLDER/{SEGMENTATION}"
            )
        options = {"local_files_only": True, "trust_remote_code": False}
        try:
            self.processor = AutoImageProcessor.from_pretrained(folder, backend="pil", **options)
            net, info = AutoModelForSemanticSegmentation.from_pretrained(
                folder, use_safetensors=True, output_loading_info=True, **options
            )
        except Exception as error:  # libraries raise all kinds on files that do not fit
            raise WeightsError(f"{folder} cannot be loaded as a segmentation network: {error}") from error
        if missing := sorted(info["missing_keys"]):  # the library would go on with random numbers
            raise WeightsError(f"{folder} is no whole segmentation network, it has no {missing[0]}: get it again")
        self.net = net.eval().to(backbones.device())
        self.classes = int(self.net.config.num_labels)
        with (folder / "model.safetensors").open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()[:8]
        self.name = f"{self.net.config.model_type}, unchecked: no published digest; its own sha256 is {digest}"
        self.labels = _CachedOutputs(self._labels)

    @torch.inference_mode()
    def _labels(self, image: Image) -> Tensor:
        """H x W uint8 or int16 class of each pixel."""
        inputs = self.processor(image, return_tensors="pt").to(backbones.device())
        logits = nn.functional.interpolate(self.net(**inputs).logits, image.shape[:2], mode="bilinear")
        return logits.argmax(1)[0].to(torch.uint8 if self.classes <= 256 else torch.int16).cpu()

    def miou(self, pictures: Sequence[Image], originals: Sequence[Image]) -> float:
        """Mean intersection over union of the classes that occur, pixels of all pictures counted together; 0 to 1."""
        from torchmetrics.classification import MulticlassJaccardIndex

        metric = MulticlassJaccardIndex(self.classes, sync_on_compute=False)
        for ours, theirs in zip(self.labels(pictures), self.labels(originals), strict=True):
            metric.update(ours.long(), theirs.long())
        return float(metric.compute())


# ---------------------------------------------------------------------------------------------------------- together


def load_metrics(
    weights: Path | None, files: Mapping[str, WeightsFile] = FILES
) -> tuple[list[ImageMetric], list[SetMetric], list[NotComputed]]:
    """Every metric that can be computed with the files in a folder.

    Args:
        weights: folder with the pretrained networks, or None.
        files: the files that are looked for and their digests.

    Returns:
        metrics of single images, metrics of sets, and those that are not computed, with what they need.

    Raises:
        EvaluationError: the folder does not exist.
        WeightsError: a file has another digest than its publisher's.
    """
    if weights is not None and not weights.is_dir():
        raise EvaluationError(f"{weights} is no folder: --weights takes the one that holds the pretrained networks")
    per_image = list(metrics.IMAGE_METRICS + realism.IMAGE_METRICS)
    per_set = list(metrics.SET_METRICS + realism.SET_METRICS)
    absent: list[NotComputed] = []

    def lpips(key: str, label: str, net: Callable[[Path], Stages], head: str) -> None:
        call = functools.partial(_distance, Lpips(net(locate(weights, files[key])), head))
        meaning = f"learned perceptual distance (v0.1) through {label}, full size, 0 = alike"
        per_image.append(ImageMetric(f"LPIPS ({label})", True, meaning, call))

    def dists() -> None:
        meaning = "distance of structure and texture through VGG16, full size, 0 = alike"
        per_image.append(ImageMetric("DISTS", True, meaning, Dists(locate(weights, files["vgg16"]))))

    def niqe() -> None:
        net = Niqe(locate(weights, files["niqe"]))
        meaning = (
            "how unnatural a picture looks by itself, from 96x96 blocks (the authors' model of pristine pictures); a "
            "picture of 128x256 has only two blocks, so compare means over many"
        )
        per_image.append(ImageMetric("NIQE", True, meaning, lambda image, original: net(image)))

    def inception() -> None:
        distances = InceptionDistances(locate(weights, files["inception"]))
        net = "FID's Inception v3 (2015-12-05, resized to 299x299, bilinear, antialiased, 2048 features)"
        meaning = (
            f"Frechet distance of the sets through {net}; too high by an amount that grows as pictures get fewer "
            "(below some thousands), so compare only figures of equally many"
        )
        per_set.append(SetMetric("FID", True, meaning, distances.fid))
        meaning = f"kernel distance of the sets through {net}; unbiased, noisy for few; one subset up to 1000 pictures"
        per_set.append(SetMetric("KID", True, meaning, distances.kid))

    def segmentation() -> None:
        net = Segmentation(weights)
        meaning = (
            f"mean intersection over union of the labels that a network ({net.name}, {net.classes} classes) gives "
            "picture and original, 1 = the same"
        )
        per_set.append(SetMetric("mIoU", False, meaning, net.miou))

    for names, add in (
        (("LPIPS (VGG16)",), lambda: lpips("vgg16", "VGG16", backbones.vgg16, "vgg")),
        (("LPIPS (AlexNet)",), lambda: lpips("alexnet", "AlexNet", backbones.alexnet, "alex")),
        (("DISTS",), dists),
        (("NIQE",), niqe),
        (("FID", "KID"), inception),
        (("mIoU",), segmentation),
    ):
        try:
            add()
        except Missing as error:
            absent += [NotComputed(name, str(error)) for name in names]
    return per_image, per_set, absent
