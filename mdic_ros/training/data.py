"""Random training crops of stereo pairs, kept in memory so that two cores spend their time on the network."""

from __future__ import annotations

import json
import queue
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}


@dataclass(frozen=True)
class Pair:
    """One stereo pair in memory, with its drive and caption."""

    drive: str
    name: str
    left: Image.Image
    right: Image.Image
    caption: str
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Batch:
    """Coded view x and side view y: (B, 3, H, W) float in [-1, 1]; captions and nouns, one per sample."""

    x: Tensor
    y: Tensor
    captions: list[str]
    tags: list[tuple[str, ...]]


def load_pairs(root: Path, folders: list[str], hold_out: list[str]) -> list[Pair]:
    """Reads every `root/stereo/<folder>/<drive>/{left,right}` pair, but for the drives in `hold_out`.

    Splits are by drive, never by frame: neighbouring frames of a 10 Hz drive are near copies of one another.

    Raises:
        FileNotFoundError: there is no pair under the folders.
    """
    captions: dict[tuple[str, str], dict] = {}
    listing = root / "captions.jsonl"
    if listing.is_file():
        for line in listing.read_text().splitlines():
            row = json.loads(line)
            captions[row["source"], row["name"]] = row
    jobs: list[tuple[str, Path, Path]] = []
    for folder in folders:
        for drive in sorted(p for p in (root / "stereo" / folder).glob("*") if p.is_dir()):
            if drive.name in hold_out:
                continue
            for left in sorted((drive / "left").iterdir()):
                right = drive / "right" / left.name
                if left.suffix.lower() in IMAGE_SUFFIXES and right.is_file():
                    jobs.append((drive.name, left, right))
    if not jobs:
        raise FileNotFoundError(f"no stereo pairs under {root}/stereo/{{{','.join(folders)}}}/<drive>/left|right")

    def read(job: tuple[str, Path, Path]) -> Pair:
        drive, left, right = job
        row = captions.get((drive, left.stem), {})
        return Pair(
            drive,
            left.stem,
            Image.open(left).convert("RGB"),
            Image.open(right).convert("RGB"),
            row.get("caption", ""),
            tuple(row.get("tags", ())),
        )

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(read, jobs))


def mirrored_caption(caption: str) -> str:
    """Swaps the words left and right, for a mirrored pair."""
    swap = {"left": "right", "right": "left"}
    return re.sub(r"\b(left|right)\b", lambda match: swap[match[0]], caption)


class StereoCrops:
    """Endless, seeded batches of random crops.

    The same crop is cut from both views, so rows stay matched. Mirroring also swaps the two views, else the disparity
    would change its sign. Colour jitter is shared, with a small part of its own for each camera.
    """

    def __init__(self, pairs: list[Pair], size: tuple[int, int], batch: int, seed: int) -> None:
        self.pairs, self.size, self.batch = pairs, size, batch
        self.rng = np.random.default_rng(seed)
        # A long drive shows one street many times: weight drives by the root of their length.
        length = {d: sum(p.drive == d for p in pairs) for d in {p.drive for p in pairs}}
        weight = np.array([length[p.drive] ** -0.5 for p in pairs])
        self.weight = weight / weight.sum()

    def sample(self, rng: np.random.Generator) -> Batch:
        height, width = self.size
        xs, ys, captions, tags = [], [], [], []
        for index in rng.choice(len(self.pairs), self.batch, p=self.weight):
            pair = self.pairs[index]
            full_w, full_h = pair.left.size
            most = min(full_h, full_w * height / width)
            zoom = rng.uniform(0.9, 1.0) if rng.random() < 0.6 else rng.uniform(0.5, 0.9)
            crop_h, crop_w = most * zoom, most * zoom * width / height
            # Whole rows and columns, or the two views would be resampled at other phases than a real camera's.
            top, left = rng.uniform(0, full_h - crop_h), rng.uniform(0, full_w - crop_w)
            box = (left, top, left + crop_w, top + crop_h)
            x, y = (
                np.asarray(im.resize((width, height), Image.Resampling.BICUBIC, box=box), np.float32)
                for im in (pair.left, pair.right)
            )
            caption = pair.caption
            if rng.random() < 0.5:
                x, y, caption = y[:, ::-1], x[:, ::-1], mirrored_caption(caption)
            gain, offset = rng.uniform(0.85, 1.15), rng.uniform(-12, 12)
            tint = rng.uniform(0.96, 1.04, 3).astype(np.float32)
            xs.append((x - 128) * gain * tint + 128 + offset)
            ys.append((y - 128) * gain * tint * rng.uniform(0.98, 1.02) + 128 + offset + rng.uniform(-2, 2))
            captions.append(caption)
            tags.append(pair.tags)

        def to_tensor(views: list[np.ndarray]) -> Tensor:
            stack = np.clip(np.stack(views), 0, 255).astype(np.float32) / 127.5 - 1
            return torch.from_numpy(stack).permute(0, 3, 1, 2)

        return Batch(to_tensor(xs), to_tensor(ys), captions, tags)

    def __iter__(self) -> Iterator[Batch]:
        """Batches made one ahead in a thread, while the network runs."""
        ready: queue.Queue[Batch] = queue.Queue(2)

        def produce() -> None:
            while True:
                ready.put(self.sample(self.rng))

        threading.Thread(target=produce, daemon=True).start()
        while True:
            yield ready.get()


def protocol_view(image: Image.Image) -> Image.Image:
    """The same field of view as MDIC's KITTI protocol (370x740 of 375x1242) cut from an image of any height: 128x256.

    For 256-row copies of KITTI images; the native protocol is in `mdic_ros.evaluation.protocol`.
    """
    crop_h = image.height * 370 / 375
    crop_w = 2 * crop_h
    left, top = (image.width - crop_w) / 2, (image.height - crop_h) / 2
    return image.resize((256, 128), Image.Resampling.BICUBIC, box=(left, top, left + crop_w, top + crop_h))


def held_out_batch(pairs: list[Pair], every: int = 5) -> Batch:
    """Fixed validation batch, every n-th pair of the held-out drives in the protocol's field of view."""
    chosen = pairs[::every]

    def stack(views: list[Image.Image]) -> Tensor:
        array = np.stack([np.asarray(protocol_view(v), np.float32) for v in views]) / 127.5 - 1
        return torch.from_numpy(array).permute(0, 3, 1, 2)

    return Batch(
        stack([p.left for p in chosen]),
        stack([p.right for p in chosen]),
        [p.caption for p in chosen],
        [p.tags for p in chosen],
    )
