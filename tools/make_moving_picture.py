"""Makes docs/images/street.webp, the moving picture at the head of the README: the sample drive at rate point 1.

    python tools/make_moving_picture.py [--rate-point 1] [--steps 2] [--output docs/images/street.webp]

It shows what these two commands give: the original, the picture decoded from its packet, and the other camera's image.

    mdic encode sample/street coded --size 128x256 --rate-point 1
    mdic decode coded decoded --steps 2
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from mdic_ros.cli.demo.pictures import panels
from mdic_ros.cli.offline import decode_bag, encode_recording
from mdic_ros.codec import Decoder, Encoder
from mdic_ros.codec.images import resize_image
from mdic_ros.datasets import open_stereo
from mdic_ros.datasets.bag import BagReader
from mdic_ros.datasets.images import from_image_message
from mdic_ros.evaluation.contact_sheet import Tile
from mdic_ros.stream import DecodeSettings, EncodeSettings

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "sample" / "street"
SIZE = (128, 256)


def frames(rate_point: int, steps: int) -> tuple[list[np.ndarray], float]:
    """The pictures, H x W x 3 uint8, and the mean bytes of a packet."""
    height, width = SIZE
    with tempfile.TemporaryDirectory() as folder, open_stereo(SAMPLE) as source:
        coded, decoded = Path(folder) / "coded", Path(folder) / "decoded"
        settings = EncodeSettings(rate_point=rate_point, coded_height=height, coded_width=width)
        summary = encode_recording(SAMPLE, coded, Encoder.from_pretrained(), settings)
        decode_bag(coded, decoded, Decoder.from_pretrained(), DecodeSettings(steps=steps))
        with BagReader(decoded) as reader:
            messages = reader.messages(["/stereo/left/image_reconstructed"])
            pictures = [from_image_message(reader.decode(message), "picture") for message in messages]
        if not len(pictures) == len(summary.sizes) == len(source):
            raise SystemExit("not every frame was decoded")
        shown = []
        for frame, picture, count in zip(source, pictures, summary.sizes, strict=True):
            left, right = (resize_image(image, height, width) for image in (frame.left, frame.right))
            tiles = [
                Tile(left, "left camera, on the robot"),
                Tile(picture, f"decoded from {count} bytes"),
                Tile(right, "right camera, at the decoder"),
            ]
            shown.append(panels(tiles, SIZE, 1))
    return shown, summary.mean_bytes


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate-point", type=int, default=1)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--quality", type=int, default=42, help="of WebP, 0 to 100")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images" / "street.webp")
    options = parser.parse_args()
    pictures, mean = frames(options.rate_point, options.steps)
    first, *others = [Image.fromarray(picture) for picture in pictures]
    first.save(
        options.output, save_all=True, append_images=others, duration=100, loop=0, quality=options.quality, method=6
    )
    print(f"{options.output}: {len(pictures)} frames, {mean:.0f} bytes a packet, {options.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
