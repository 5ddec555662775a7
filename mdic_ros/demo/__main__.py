"""The command: see `python -m mdic_ros.demo --help`."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console

from mdic_ros import __version__
from mdic_ros.datasets import DatasetError, ImageError, StereoSource, open_stereo
from mdic_ros.datasets.bag import check_output
from mdic_ros.demo.errors import DemoError
from mdic_ros.resources import resource

SAMPLE = "sample/street"
#: Long recordings are cut to so many frames unless --frames says otherwise.
_MOST_FRAMES = 60
_HEIGHT = 128  # of the coded image by default: what two cores decode several times a second


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f"'{text}' is not a size like 128x256 (height x width)")
    size = int(height), int(width)
    if not (64 <= size[0] <= 4096 and 128 <= size[1] <= 4096):
        raise argparse.ArgumentTypeError(f"{text}: the codec takes 64x128 to 4096x4096 (height x width)")
    return size


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m mdic_ros.demo",
        description="A recorded stereo drive through encoder_node, DDS and decoder_node, watched and summed up.",
    )
    parser.add_argument(
        "--bag",
        type=Path,
        metavar="PATH",
        help="recording to play: a bag, a KITTI folder, or a folder with left/ and right/ "
        f"(default: the sample that ships, {SAMPLE})",
    )
    parser.add_argument(
        "--model", type=Path, metavar="PATH", help="folder of a model bundle (default: the one that ships)"
    )
    parser.add_argument("--steps", type=_positive, default=1, metavar="N", help="diffusion steps per frame (1)")
    parser.add_argument(
        "--rate", type=int, default=-1, metavar="R", help="rate point, 0 = fewest bytes (default: the finest)"
    )
    parser.add_argument(
        "--size",
        type=_size,
        metavar="HxW",
        help=f"code at this size (default: {_HEIGHT} high, in the recording's shape)",
    )
    parser.add_argument(
        "--frames", type=_positive, metavar="N", help=f"play the first N frames (all, up to {_MOST_FRAMES})"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("demo_output"), metavar="PATH", help="folder to leave results in (demo_output)"
    )
    return parser.parse_args(arguments)


def coded_size(height: int, width: int) -> tuple[int, int]:
    """Default size for images of this size: 128 high (or as they are, if lower), sides multiples of 16."""
    scale = min(1.0, _HEIGHT / height)
    return max(64, round(height * scale / 16) * 16), max(128, round(width * scale / 16) * 16)


def frame_rate(source: StereoSource, count: int) -> float:
    """Mean frame rate in Hz over the first `count` frames; 10 when the stamps tell none."""
    span = source[count - 1].stamp_ns - source[0].stamp_ns if count > 1 else 0
    return (count - 1) * 1e9 / span if span > 0 else 10.0


def _recording(path: Path | None) -> Path:
    if path is not None:
        return path
    try:
        return resource(SAMPLE)
    except FileNotFoundError:
        raise DemoError(
            f"{SAMPLE} is not there; name a recording of your own with --bag PATH (make demo BAG=PATH)"
        ) from None


def _check_ros() -> None:
    try:
        import rclpy  # noqa: F401

        import mdic_ros.msg  # noqa: F401
    except ImportError as error:
        raise DemoError(
            f"ROS 2 or this package's messages are not to be found here ({error}). In a checkout run `make setup`, "
            "then `make demo`; on a ROS host build the package with colcon and source its install/setup.bash."
        ) from error


def _versions() -> dict[str, str]:
    found = {"mdic_ros": __version__, "python": platform.python_version()}
    for name in ("torch", "diffusers", "transformers", "constriction", "ros-jazzy-rclpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    found["ROS_DISTRO"] = os.environ.get("ROS_DISTRO", "")
    found["RMW_IMPLEMENTATION"] = os.environ.get("RMW_IMPLEMENTATION", "")
    return found


def demo(options: argparse.Namespace, console: Console) -> None:
    """The whole demo. Raises DemoError, or DatasetError and BundleError of what it is given."""
    _check_ros()
    recording = _recording(options.bag)
    # Late: torch takes a second or two, which --help and mistakes need not wait for.
    from mdic_ros.codec import Bundle, BundleError
    from mdic_ros.demo.play import Settings

    try:
        bundle = Bundle(options.model)
    except (BundleError, FileNotFoundError) as error:
        raise DemoError(f"no model to decode with: {error}") from error
    with open_stereo(recording) as source:
        count = min(len(source), options.frames or _MOST_FRAMES)
        size = options.size or coded_size(*source[0].left.shape[:2])
        settings = Settings(
            recording=recording.resolve(),
            frames=count,
            rate_hz=frame_rate(source, count),
            size=size,
            model=bundle.path.resolve(),
            steps=options.steps,
            rate_point=options.rate,
            out=options.out,
        )
        out = options.out
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DemoError(f"cannot make the folder {out}: {error.strerror}") from error
        check_output(out / "decoded", overwrite=True)
        _say(
            console,
            f"{recording}: {len(source)} stereo frames ({source.layout}) at {settings.rate_hz:.3g} Hz, of which "
            f"{count} are coded at {size[0]}x{size[1]}; model {bundle.model_id} {bundle.fingerprint[:8]}",
        )
        Demo(options, console, source, bundle, settings).run()


class Demo:
    """One run, with everything checked that can be checked before."""

    def __init__(
        self, options: argparse.Namespace, console: Console, source: StereoSource, bundle: Any, settings: Any
    ) -> None:
        self._options, self._console = options, console
        self._source, self._bundle, self._settings = source, bundle, settings

    def run(self) -> None:
        """Play, make the pictures, write the figures, sum up."""
        from mdic_ros.demo import rate_points
        from mdic_ros.demo.frames import medians

        settings = self._settings
        rows, seconds = self._play()
        decoded = [row for row in rows if row.decoded]
        chosen = rate_points.spread(len(rows))
        self._say(f"making the contact sheet: frames {', '.join(map(str, chosen))} at every rate point ...")
        captions = {row.frame: row.caption for row in decoded}
        samples = rate_points.code(self._bundle, self._source, chosen, settings.size, settings.steps, captions)
        points = rate_points.summary(samples, settings.size)
        self._sheet(samples)
        speed = (len(rows) - 1) / settings.rate_hz / seconds if len(rows) > 1 else 1.0
        speed = min(1.0, speed)
        middle = medians(rows)
        self._figures(rows, middle, points, chosen, speed)
        self._sum_up(rows, middle, points, speed)

    def _play(self) -> tuple[list[Any], float]:
        from mdic_ros.demo.pictures import Tile, Video, panels
        from mdic_ros.demo.play import play
        from mdic_ros.demo.table import Display

        settings = self._settings
        scale = max(1, round(512 / settings.size[1]))
        last = None  # what the operator still has before the eyes when a frame is missing
        with (
            Video(settings.out / "side_by_side.mp4", settings.rate_hz) as video,
            Display(self._console, settings.frames) as display,
        ):

            def show(frame: Any, row: Any, speed: float) -> None:
                nonlocal last
                if row.decoded:
                    last = frame.picture
                    label = f"decoded: {row.bytes} bytes, {row.bpp:.3f} bpp, {row.psnr_db:.1f} dB"
                else:
                    label = "not decoded; the last picture stays"
                tiles = [
                    Tile(frame.original, f"original (left camera), frame {row.frame}"),
                    Tile(frame.side, "side image (right camera), only the decoder has it"),
                    Tile(last, label),
                ]
                caption = f'caption of the side image: "{row.caption}"' if row.caption else ""
                video.add(panels(tiles, settings.size, scale, caption))
                display.add(row, speed)

            return play(settings, show, display.say)

    def _sheet(self, samples: Any) -> None:
        from PIL import Image

        from mdic_ros.demo import rate_points
        from mdic_ros.demo.pictures import contact_sheet

        settings = self._settings
        title = (
            f"{self._bundle.model_id}: {self._source.path.name} coded at {settings.size[0]}x{settings.size[1]}, "
            f"decoded with the side image, steps: {settings.steps}",
            "Every rate point is a prefix of the next one's bytes. PSNR against the original; white in the mask: "
            "shared with the side image.",
        )
        sheet = contact_sheet(rate_points.tiles(samples), settings.size, title)
        Image.fromarray(sheet).save(settings.out / "contact_sheet.png", optimize=True)

    def _figures(
        self, rows: list[Any], middle: dict[str, float], points: list[Any], chosen: list[int], speed: float
    ) -> None:
        from mdic_ros.demo.frames import json_number

        settings = self._settings
        figures = {
            "command": shlex.join(["python", "-m", "mdic_ros.demo", *self._options.words]),
            "versions": _versions(),
            "machine": {"cpus": os.cpu_count(), "architecture": platform.machine()},
            "model": {"id": self._bundle.model_id, "fingerprint": self._bundle.fingerprint},
            "recording": {
                "name": self._source.path.name,
                "layout": self._source.layout,
                "frames": len(self._source),
                "rate_hz": json_number(settings.rate_hz),
            },
            "settings": {
                "coded_height": settings.size[0],
                "coded_width": settings.size[1],
                "steps": settings.steps,
                "rate_point": settings.rate_point,
                "replay_speed": json_number(speed),
            },
            "explanations": {
                "bytes": "payload of the Bitstream message, header and checks included",
                "bpp": "bits per pixel of the coded size",
                "kbps": "kbit/s of such packets at the recording's frame rate, without DDS's own headers",
                "encode_ms": "image to packet, both as they arrive at the monitor: encoding and a trip through DDS",
                "decode_ms": "as the decoder reports it",
                "age_ms": "playing of the image to publishing of the picture",
                "psnr_db": "against the original scaled to the coded size",
                "side_psnr_db": "of the side image as it is, to compare with",
            },
            "frames_played": len(rows),
            "frames_decoded": sum(row.decoded for row in rows),
            "medians": {name: json_number(value) for name, value in middle.items()},
            "rate_points": {"frames": chosen, "medians": points},
            "frames": [row.as_json() for row in rows],
        }
        (settings.out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf8")

    def _sum_up(self, rows: list[Any], middle: dict[str, float], points: list[Any], speed: float) -> None:
        settings, say = self._settings, self._say
        decoded = [row for row in rows if row.decoded]
        say("")
        say(
            f"{len(decoded)} of {len(rows)} frames crossed DDS and were decoded with the side image. Medians: "
            f"{middle['bytes']:.0f} bytes ({middle['bpp']:.4f} bpp, {middle['kbps']:.1f} kbit/s at "
            f"{settings.rate_hz:.3g} Hz), {middle['psnr_db']:.2f} dB PSNR"
            + (f" (the side image as it is: {middle['side_psnr_db']:.2f} dB)." if middle["side_psnr_db"] > 0 else ".")
        )
        if len(decoded) < len(rows):
            lost = [str(row.frame) for row in rows if not row.decoded]
            say(f"Not decoded: frame {', '.join(lost[:10])}{' ...' if len(lost) > 10 else ''}; see the logs.")
        say(
            f"Encoding took {middle['encode_ms']:.0f} ms, decoding {middle['decode_ms']:.0f} ms; pictures were "
            f"{middle['age_ms']:.0f} ms old."
            + (
                f" The drive was played at {speed:.2f} of its speed, so that this machine ({os.cpu_count()} CPUs) "
                "decodes every frame."
                if speed < 0.95
                else ""
            )
        )
        table = "; ".join(f"{p['bytes']:.0f} bytes {p['psnr_db']:.1f} dB" for p in points)
        say(f"Rate points, on the frames of the contact sheet: {table}.")
        out = settings.out
        say("Look at:")
        say(f"  {out / 'side_by_side.mp4'}   original | side image | decoded")
        say(f"  {out / 'contact_sheet.png'}  every rate point, with masks")
        say(f"  {out / 'decoded'}            bag of all that encoder and decoder published (rosbag2, mcap)")
        say(f"  {out / 'figures.json'}       every figure of every frame")

    def _say(self, text: str) -> None:
        _say(self._console, text)


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _terminate(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Exits with 0; 1 when something stood in the way, 2 for bad options, 130 after Ctrl-C."""
    options = parse(arguments)
    options.words = list(sys.argv[1:] if arguments is None else arguments)
    console = Console(force_terminal=False if os.environ.get("CI") else None)
    signal.signal(signal.SIGTERM, _terminate)  # so that the nodes are ended, too
    started = time.monotonic()
    try:
        demo(options, console)
    except (DemoError, DatasetError, ImageError) as error:
        Console(stderr=True).print(f"demo: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        Console(stderr=True).print("\ndemo: interrupted; the nodes have been stopped, nothing was kept but their logs")
        sys.exit(130)
    _say(console, f"{time.monotonic() - started:.0f} s in all.")
    sys.exit(0)


if __name__ == "__main__":
    main()
