"""Random training crops of stereo pairs, kept in memory so that two cores spend their time on the network.

Each crop has the flow that a stereo matcher found, which supervises the alignment. Some crops have an unusual side
view: an older one, one of the same camera, or one of a rig that is not quite rectified. Some are joined from two
scenes, for more variety.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from mdic_ros.models.text import mirrored_caption


@dataclass(frozen=True)
class Pair:
    """One stereo pair in memory, with its drive and caption."""

    drive: str
    name: str
    left: Image.Image
    right: Image.Image
    caption: str
    tags: tuple[str, ...]
    #: Disparities of the left and of the right image, H x W float16, pixels, NaN where unknown: see `disparities`.
    disparity: tuple[npt.NDArray[np.float16], npt.NDArray[np.float16]] | None = None
    folder: str = ""  #: the drive's, under stereo/: one drive may be there in colour and in grey


@dataclass(frozen=True)
class Batch:
    """Coded view x and side view y: (B, 3, H, W) float in [-1, 1]; captions, nouns and drives (two for a joined crop).

    `flow`, (B, 2, H, W) float, is the displacement x, y in pixels from a point of x to the same point in y. It is NaN
    where it is unknown, and everywhere if y was not taken at the same time as x.
    """

    x: Tensor
    y: Tensor
    captions: list[str]
    tags: list[tuple[str, ...]]
    flow: Tensor
    drives: list[frozenset[str]]

    def strangers(self) -> list[int]:
        """Per sample the next one that has no drive in common with it, or itself where there is none."""
        drives = self.drives
        count = len(drives)
        return [
            next((m % count for m in range(n + 1, n + count) if drives[m % count].isdisjoint(drives[n])), n)
            for n in range(count)
        ]


def disparities(left: Image.Image, right: Image.Image) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.float16]]:
    """Disparity of each point of the left image and of the right one, by OpenCV's semi-global matcher.

    A point at column c of the left image is at c - disparity of the right one, and one at c of the right image at
    c + disparity of the left one (Hirschmueller, 2008). Left-right consistent; NaN where there is no such match.

    Returns:
        Two H x W float16 arrays, pixels.
    """
    width = left.width
    matcher = cv2.StereoSGBM_create(  # type: ignore[attr-defined]
        minDisparity=0,
        numDisparities=max(16, width // 8 // 16 * 16),
        blockSize=5,
        P1=200,
        P2=800,
        disp12MaxDiff=1,
        uniquenessRatio=5,
        speckleWindowSize=100,
        speckleRange=2,
        mode=cv2.STEREO_SGBM_MODE_SGBM_3WAY,
    )

    def match(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> npt.NDArray[np.float16]:
        found = matcher.compute(np.ascontiguousarray(a), np.ascontiguousarray(b)).astype(np.float32) / 16
        found[found < 0] = np.nan
        return found.astype(np.float16)

    a, b = np.asarray(left), np.asarray(right)
    return match(a, b), match(b[:, ::-1], a[:, ::-1])[:, ::-1]


def earlier(pairs: list[Pair], most: int, scenes: Collection[str] = ()) -> list[list[int]]:
    """Per pair the indices of up to `most` frames before it in the same drive, by the numbers at the end of the names.

    Drives in `scenes` have no earlier frames: their numbers count scenes. Frames of another size do not count.
    """
    where: dict[tuple[object, int], int] = {}
    for index, pair in enumerate(pairs):
        if (number := re.fullmatch(r"(.*?)(\d+)", pair.name)) and pair.drive not in scenes:
            where[(pair.folder, pair.drive, pair.left.size, number[1]), int(number[2])] = index
    found: list[list[int]] = [[] for _ in pairs]
    for (run, n), index in where.items():
        found[index] = [where[run, n - k] for k in range(1, most + 1) if (run, n - k) in where]
    return found


@dataclass(frozen=True)
class _Crop:
    """Both views H x W x 3 float, 0 to 255 or beyond, flow (2, H, W), caption, nouns and drives of the pair."""

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.float32]
    flow: npt.NDArray[np.float32]
    caption: str
    tags: tuple[str, ...]
    drives: frozenset[str]


class StereoCrops:
    """Batches of random crops.

    The same crop is cut from both views, so that rows still correspond. Mirroring also swaps the two views, or the
    disparity would change its sign. Colour jitter is shared, except for a small part per camera.

    Args:
        pairs: pairs to cut from.
        size: height and width of a crop, pixels.
        batch: crops per batch.
        stale: share of crops, before joining, whose side view is one to ten frames older, of either camera.
        unrectified: share of crops, before joining, whose side view is up to four pixels higher or lower.
        joined: share of crops whose right part is from another crop, see `_joined`.
        scenes: drives whose frames are unrelated, see `earlier`: each frame has weight 1, like a drive of one frame.
    """

    def __init__(
        self,
        pairs: list[Pair],
        size: tuple[int, int],
        batch: int,
        *,
        stale: float = 0.0,
        unrectified: float = 0.0,
        joined: float = 0.0,
        scenes: Collection[str] = (),
    ) -> None:
        self.pairs, self.size, self.batch = pairs, size, batch
        self.stale, self.unrectified, self.joined = stale, unrectified, joined
        self.earlier = earlier(pairs, 10, scenes)
        # A long drive shows one street many times: the weight of a drive is the root of its length.
        length = {d: sum(p.drive == d for p in pairs) for d in {p.drive for p in pairs}}
        weight = np.array([1.0 if p.drive in scenes else length[p.drive] ** -0.5 for p in pairs])
        self.weight = weight / weight.sum()

    def sample(self, rng: np.random.Generator) -> Batch:
        """One batch; safe to call from several threads."""
        crops = []
        for _ in range(self.batch):
            crop = self._crop(rng)
            crops.append(_joined(crop, self._crop(rng), rng) if rng.random() < self.joined else crop)

        def to_tensor(views: list[npt.NDArray[np.float32]]) -> Tensor:
            stack = np.clip(np.stack(views), 0, 255).astype(np.float32) / 127.5 - 1
            return torch.from_numpy(stack).permute(0, 3, 1, 2)

        return Batch(
            to_tensor([c.x for c in crops]),
            to_tensor([c.y for c in crops]),
            [c.caption for c in crops],
            [c.tags for c in crops],
            torch.from_numpy(np.stack([c.flow for c in crops])),
            [c.drives for c in crops],
        )

    def _crop(self, rng: np.random.Generator) -> _Crop:
        height, width = self.size
        index = int(rng.choice(len(self.pairs), p=self.weight))
        pair = self.pairs[index]
        full_w, full_h = pair.left.size
        most = min(full_h, full_w * height / width)
        unrectified = rng.random() < self.unrectified
        # Mostly nearly whole frames, since the position in the image tells much about the distance. A side view that is
        # higher or lower needs room for the shift.
        zoom = rng.uniform(0.94, 1.0) if rng.random() < 0.75 and not unrectified else rng.uniform(0.5, 0.94)
        aspect = rng.uniform(0.95, 1.05)
        crop_h = most * zoom * min(1.0, aspect)
        crop_w = most * zoom * min(1.0, 1 / aspect) * width / height
        top, left = rng.uniform(0, full_h - crop_h), rng.uniform(0, full_w - crop_w)
        mirrored = rng.random() < 0.5
        coded, side = (pair.right, pair.left) if mirrored else (pair.left, pair.right)
        moment = not self.earlier[index] or rng.random() >= self.stale
        if not moment:
            old = self.pairs[rng.choice(self.earlier[index])]
            side = old.left if rng.random() < 0.5 else old.right
        drop = 0.0
        if unrectified:
            drop = float(np.clip(rng.uniform(-4, 4) * crop_h / height, -top, full_h - crop_h - top))

        def cut(image: Image.Image, top: float, resample: Image.Resampling) -> npt.NDArray[np.float32]:
            box = (left, top, left + crop_w, top + crop_h)
            view = np.asarray(image.resize((width, height), resample, box=box), np.float32)
            return view[:, ::-1] if mirrored else view

        x, y = cut(coded, top, Image.Resampling.BICUBIC), cut(side, top + drop, Image.Resampling.BICUBIC)
        flow = np.full((2, height, width), np.nan, np.float32)
        if moment and pair.disparity is not None:
            disparity = Image.fromarray(pair.disparity[int(mirrored)].astype(np.float32))
            flow[0] = -cut(disparity, top, Image.Resampling.NEAREST) * (width / crop_w)
            flow[1] = np.where(np.isnan(flow[0]), np.nan, -drop * height / crop_h)
        gain, offset, gamma = rng.uniform(0.8, 1.2), rng.uniform(-15, 15), rng.uniform(0.85, 1.2)
        tint = rng.uniform(0.95, 1.05, 3).astype(np.float32)
        light_x, light_y = (255 * (np.clip(view, 0, 255) / 255) ** gamma for view in (x, y))
        x = ((light_x - 128) * gain * tint + 128 + offset).astype(np.float32)
        gain, offset = gain * rng.uniform(0.98, 1.02), offset + rng.uniform(-2, 2)
        y = ((light_y - 128) * gain * tint + 128 + offset).astype(np.float32)
        caption = mirrored_caption(pair.caption) if mirrored else pair.caption
        return _Crop(x, y, flow, caption, pair.tags, frozenset({pair.drive}))


def _joined(left: _Crop, right: _Crop, rng: np.random.Generator) -> _Crop:
    """The left part of one crop beside the right part of another, in both views; caption of the larger part.

    The layout of a few hundred scenes can be learnt by heart, from a few bytes each. Joining makes as many scenes as
    there are pairs of them, and rows still correspond, up to the seam (compare Yun et al., 2019, arXiv 1905.04899).
    """
    width = left.x.shape[1]
    seam = int(rng.uniform(0.25, 0.75) * width)
    from_left = np.arange(width) < seam
    flow = np.where(from_left, left.flow, right.flow)
    crossed = (np.arange(width) + flow[:1] < seam) != from_left  # NaN stays NaN
    flow = np.where(crossed, np.nan, flow).astype(np.float32)
    more = left if seam > width // 2 else right
    x, y = (np.where(from_left[:, None], a, b) for a, b in ((left.x, right.x), (left.y, right.y)))
    return _Crop(x, y, flow, more.caption, more.tags, left.drives | right.drives)


def protocol_view(image: Image.Image) -> Image.Image:
    """The same field of view as MDIC's KITTI protocol (370x740 of 375x1242) cut from an image of any height: 128x256.

    For 256-row copies of KITTI images; `mdic_ros.evaluation.protocol` has the protocol for originals. Of a narrower
    image, as much as fits.
    """
    crop_h = min(image.height * 370 / 375, image.width / 2)
    crop_w = 2 * crop_h
    left, top = (image.width - crop_w) / 2, (image.height - crop_h) / 2
    return image.resize((256, 128), Image.Resampling.BICUBIC, box=(left, top, left + crop_w, top + crop_h))


def held_out_batch(pairs: list[Pair], every: int = 5, most: int = 40) -> Batch:
    """Fixed validation batch: every n-th pair of the held-out drives, or fewer, evenly spread, but `most` at most.

    Validation runs on the whole batch at once, so `most` bounds memory and time.
    """
    return protocol_batch(pairs[:: max(every, math.ceil(len(pairs) / most))])


def foreign_batch(pairs: list[Pair], count: int) -> Batch:
    """`count` pairs of the training drives, evenly spread; some twice if there are fewer."""
    return protocol_batch([pairs[n * len(pairs) // count] for n in range(count)])


def protocol_batch(pairs: list[Pair]) -> Batch:
    """The pairs in the protocol's field of view, see `protocol_view`; without a flow."""

    def stack(views: list[Image.Image]) -> Tensor:
        array = np.stack([np.asarray(protocol_view(v), np.float32) for v in views]) / 127.5 - 1
        return torch.from_numpy(array).permute(0, 3, 1, 2)

    x = stack([p.left for p in pairs])
    return Batch(
        x,
        stack([p.right for p in pairs]),
        [p.caption for p in pairs],
        [p.tags for p in pairs],
        torch.full_like(x[:, :2], math.nan),
        [frozenset({p.drive}) for p in pairs],
    )
