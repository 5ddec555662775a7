"""Packs rendered frames into the sample bag: `python tools/render_street/make_bag.py FRAMES sample/street`.

Runs in the package's own environment (the renderer has another one, see README.md).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from mdic_ros.datasets import CameraInfo
from mdic_ros.datasets.bag_writer import BagWriter
from mdic_ros.datasets.images import RGB, encode_image, read_image
from mdic_ros.datasets.messages import make_camera_info, make_compressed_image, make_header

START_NS = 1_781_692_920_000_000_000  # 2026-06-17 10:42:00 UTC, a sunny morning
QUALITY = 95
CONTACT_FRAMES = (0, 14, 26, 36)


def calibrations(camera: dict[str, float]) -> dict[str, CameraInfo]:
    """Calibration of the rectified pair that `camera.json` describes."""
    height, width = int(camera["height"]), int(camera["width"])
    infos = {}
    for side, baseline in (("left", 0.0), ("right", camera["baseline"])):
        p = np.array(
            [
                [camera["fx"], 0, camera["cx"], -camera["fx"] * baseline],
                [0, camera["fy"], camera["cy"], 0],
                [0, 0, 1, 0],
            ]
        )
        infos[side] = CameraInfo.rectified(height, width, p)
    return infos


def write_bag(frames: Path, bag: Path) -> int:
    """Writes the bag, in recording order; returns the number of stereo frames."""
    camera = json.loads((frames / "camera.json").read_text("utf8"))
    infos = calibrations(camera)
    names = sorted(p.name for p in (frames / "left").glob("*.png"))
    if names != sorted(p.name for p in (frames / "right").glob("*.png")) or not names:
        sys.exit(f"{frames}: left/ and right/ must hold the same frames; render the missing ones")
    period = round(1e9 / camera["rate_hz"])
    with BagWriter(bag, overwrite=True) as writer:
        for i, name in enumerate(names):
            stamp = START_NS + i * period
            for side, info in infos.items():
                header = make_header(stamp, f"stereo_{side}_optical")
                data = encode_image(read_image(frames / side / name), "jpeg", QUALITY)
                writer.write(f"/stereo/{side}/image_raw/compressed", make_compressed_image(header, "jpeg", data), stamp)
                writer.write(f"/stereo/{side}/camera_info", make_camera_info(header, info), stamp)
    return len(names)


def contact_picture(frames: Path) -> RGB:
    """A few left images, two by two."""
    tiles = [read_image(frames / "left" / f"{i:06d}.png") for i in CONTACT_FRAMES]
    return np.concatenate([np.concatenate(tiles[:2], axis=1), np.concatenate(tiles[2:], axis=1)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("frames", type=Path, help="what render_street wrote")
    parser.add_argument("bag", type=Path, help="bag folder to write, replaced if it is there")
    args = parser.parse_args()
    count = write_bag(args.frames, args.bag)
    picture = args.bag.with_suffix(".jpg")
    Image.fromarray(contact_picture(args.frames)).save(picture, quality=85, optimize=True)
    captions = args.bag.with_name(args.bag.name + "_captions.jsonl")
    captions.write_bytes((args.frames / "captions.jsonl").read_bytes())
    size = sum(p.stat().st_size for p in args.bag.iterdir())
    print(f"{args.bag}: {count} stereo frames, {size / 1e6:.1f} MB; with {picture.name} and {captions.name}")


if __name__ == "__main__":
    main()
