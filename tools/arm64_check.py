#!/usr/bin/env python3
"""Packets made on ARM64 decode here to the tokens that were encoded there, and the other way round.

    python3 tools/arm64_check.py --tool TOOL [--frames 200] [--folder build/arm64]

TOOL gives an ARM64 user space on this machine and is no part of this project:
    TOOL setup FOLDER REQUIREMENT...    makes it, with aarch64 wheels of these requirements
    TOOL run FOLDER SCRIPT ARGUMENT...  runs a script in it with Python 3.11; PYTHONPATH is passed on
The base package's requirements are read from pyproject.toml and come as aarch64 wheels, nothing is built. ONNX Runtime
is 1.23.2 there: newer ones do not load under the QEMU of Debian 12 (7.2), though they do on ARM64 itself.

Pictures are those of the sample, small, because QEMU is slow: about 20 minutes for 200 of them on two cores. The
networks run in floating point and may give a few other tokens there than here, which is counted. What is coded must
not differ in a single one. Exit code 0 if nothing differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from mdic_ros.codec.bitstream import feature_grid, inspect, pack_header, split  # noqa: E402
from mdic_ros.codec.encoder import Encoder  # noqa: E402

ONNXRUNTIME = "onnxruntime==1.23.2"
SIZES = ((64, 128),) * 7 + ((96, 160), (128, 256))  # rows x columns; of every nine frames


# ------------------------------------------------------------------------------------------------- on either side
def encode(images: list[np.ndarray]) -> list[dict]:
    """Of each image its tokens by scale, as nested lists, and the packets of all rate points, in hex."""
    encoder, frames = Encoder.from_pretrained(threads=1), []
    identity = bytes.fromhex(encoder.fingerprint)
    for number, image in enumerate(images):
        view = ("left", "right")[number % 2]
        tokens = encoder._tokens(image, view, encoder.rate_points)
        headers = [pack_header(point, identity, *image.shape[:2], view) for point in range(encoder.rate_points)]
        payloads = encoder._coder.encode(tokens, headers[-1])
        packets = [(header + payload).hex() for header, payload in zip(headers, payloads, strict=True)]
        frames.append({"tokens": [grid.tolist() for grid in tokens], "packets": packets})
        told(number, len(images), "encoded")
    return frames


def decode(frames: list[dict]) -> list[dict]:
    """Of each frame's packets the tokens, and the packets again that an encoder on this side makes of the finest."""
    encoder, found = Encoder.from_pretrained(threads=1), []
    identity = bytes.fromhex(encoder.fingerprint)
    for number, frame in enumerate(frames):
        decoded = []
        for packet in map(bytes.fromhex, frame["packets"]):
            info = inspect(packet)
            header, payload = split(packet, info, identity, encoder.rate_points)
            grid = feature_grid(info.height, info.width)
            decoded.append(encoder._coder.decode(payload, grid, info.rate_point + 1, header))
        payloads = encoder._coder.encode(decoded[-1], header)
        again = [
            packet[: 2 * info.header_bytes] + p.hex() for packet, p in zip(frame["packets"], payloads, strict=True)
        ]
        found.append({"tokens": [[grid.tolist() for grid in grids] for grids in decoded], "packets": again})
        told(number, len(frames), "decoded")
    return found


def told(number: int, count: int, what: str) -> None:
    if (number + 1) % 20 == 0 or number + 1 == count:
        print(f"{number + 1} of {count} frames {what}", file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------------------------------------- there
def worker(job: str, folder: Path) -> None:
    """What runs on ARM64: `encode` or `decode`, from files and to files."""
    if job == "encode":
        with np.load(folder / "images.npz") as images:
            result = encode([images[str(number)] for number in range(len(images))])
    else:
        result = decode(json.loads((folder / "frames_here.json").read_text()))
    (folder / f"{job}d_there.json").write_text(json.dumps(result))


# ----------------------------------------------------------------------------------------------------------- here
def pictures(count: int) -> list[np.ndarray]:
    """H x W x 3 uint8 RGB, of both cameras of the sample and of several sizes."""
    from mdic_ros.codec.images import resize_image
    from mdic_ros.datasets import open_stereo
    from mdic_ros.resources import resource

    found = []
    with open_stereo(resource("sample/street")) as source:
        for number in range(count):
            frame = source[number // 2 % len(source)]
            image = (frame.left, frame.right)[number % 2]
            shift = number // (2 * len(source))  # from the second round on the same pictures, cropped
            found.append(resize_image(image[7 * shift :, 11 * shift :], *SIZES[number % len(SIZES)]))
    return found


def requirements() -> list[str]:
    """The base package's, with the ONNX Runtime that loads there."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        listed: list[str] = tomllib.load(file)["project"]["dependencies"]
    return [ONNXRUNTIME if text.startswith("onnxruntime") else text for text in listed]


def prepare(tool: Path, folder: Path) -> None:
    """Makes the ARM64 user space, unless it is there with these requirements."""
    stamp, wanted = folder / "requirements.txt", "\n".join(requirements())
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([tool, "setup", folder, *requirements()], check=True)
        stamp.write_text(wanted)


def differences(sent: list[dict], found: list[dict]) -> int:
    """Rate points, of all frames, at which anything differs."""
    wrong = 0
    for one, two in zip(sent, found, strict=True):
        for point, tokens in enumerate(two["tokens"]):
            wrong += tokens != one["tokens"][: point + 1] or two["packets"][point] != one["packets"][point]
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", type=Path, required=True, help="the program that gives the ARM64 user space")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "arm64", help="where it is made and kept")
    parser.add_argument("--frames", type=int, default=200)
    options = parser.parse_args()
    folder, tool = options.folder.resolve(), options.tool.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    prepare(tool, folder)
    images = pictures(options.frames)
    np.savez(folder / "images.npz", **{str(number): image for number, image in enumerate(images)})
    here = encode(images)
    (folder / "frames_here.json").write_text(json.dumps(here))
    # Both at once: they do not need each other, and each uses one core.
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    jobs = [
        subprocess.Popen([tool, "run", folder, Path(__file__).resolve(), "--there", job, folder], env=environment)
        for job in ("encode", "decode")
    ]
    codes = [job.wait() for job in jobs]
    if any(codes):
        print("The run on ARM64 failed, see above.", file=sys.stderr)
        return 1
    there, decoded_there = (json.loads((folder / f"{job}d_there.json").read_text()) for job in ("encode", "decode"))
    equal = [np.array(a) == np.array(b) for x, y in zip(here, there) for a, b in zip(x["tokens"], y["tokens"])]
    points = sum(len(frame["packets"]) for frame in there)
    wrong_here, wrong_there = differences(there, decode(there)), differences(here, decoded_there)
    print(f"{len(images)} frames, {points} packets each way")
    print(f"encoded on ARM64, decoded here: {wrong_here} mismatches")
    print(f"encoded here, decoded on ARM64: {wrong_there} mismatches")
    print(f"tokens that the networks give there as here: {np.concatenate([e.ravel() for e in equal]).mean():.3%}")
    return 1 if wrong_here or wrong_there else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--there"]:
        worker(sys.argv[2], Path(sys.argv[3]))
    else:
        sys.exit(main())
