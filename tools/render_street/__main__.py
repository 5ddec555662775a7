"""Renders the drive: `python -m render_street --out FRAMES` (from tools/). See README.md."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from . import camera, captions, drive, street, world


def main() -> None:
    parser = argparse.ArgumentParser(prog="render_street", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for left/, right/ and the sidecar files")
    parser.add_argument("--frames", default=f"0:{drive.FRAMES}", help="first:end[:step] (default: all)")
    parser.add_argument("--samples", type=int, default=5, help="Cycles samples per pixel, before denoising")
    parser.add_argument("--scale", type=int, default=100, help="size in percent of 256x512 (height x width)")
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--seed", type=int, default=4, help="of the street's layout")
    parser.add_argument("--left-only", action="store_true", help="for a quick look")
    parser.add_argument("--disparity", action="store_true", help="also write true disparities (float16 .npz, pixels)")
    args = parser.parse_args()

    scene = camera.make_scene(args.samples, args.scale, args.threads)
    parked = street.build(args.seed)
    cast = drive.cast()
    world.make_world(scene)
    world.make_haze(scene)
    rig = camera.Rig(scene, args.out)
    labels = captions.Labels(parked, cast)
    file = args.out / "captions.jsonl"
    rows = {}  # of earlier runs too: a drive may be rendered in parts
    if file.exists():
        rows = {row["name"]: row for row in map(json.loads, file.read_text("utf8").splitlines())}
    (args.out / "camera.json").write_text(json.dumps(rig.calibration(), indent=2) + "\n", "utf8")
    for index in range(drive.FRAMES)[slice(*(int(p) if p else None for p in args.frames.split(":")))]:
        t = index / camera.RATE_HZ
        for mover in cast:
            mover.move(t)
        rig.move(drive.rig_pose(t))
        seen = None
        for side in ("left",) if args.left_only else ("left", "right"):
            seen_here = rig.render(side, index, disparity=args.disparity)
            seen = seen_here if side == "left" else seen
        assert seen is not None
        row = labels.describe(index, seen)
        rows[row["name"]] = row
        file.write_text("".join(json.dumps(rows[name]) + "\n" for name in sorted(rows)), "utf8")
        print(f"frame {index}: {row['caption']}", flush=True)


if __name__ == "__main__":
    main()
