"""The command: see `python -m mdic_ros.cli.demo --help`."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from typer import BadParameter

from mdic_ros.cli.demo.errors import DemoError
from mdic_ros.cli.options import parse_size
from mdic_ros.cli.signals import orderly_exit
from mdic_ros.codec.bitstream import FEATURE_STRIDE, MAX_SIDE, MIN_HEIGHT, MIN_WIDTH
from mdic_ros.datasets import StereoSource, open_stereo
from mdic_ros.datasets.bag_writer import check_output
from mdic_ros.errors import MdicError
from mdic_ros.extras import need
from mdic_ros.resources import resource

SAMPLE = "sample/street"
#: Frames that are played of a longer recording unless --frames says otherwise.
_MOST_FRAMES = 60
_HEIGHT = 128  # of the coded image by default: what two cores decode several times a second


def _size(text: str) -> tuple[int, int]:
    try:
        height, width = parse_size(text)
    except BadParameter as error:
        raise argparse.ArgumentTypeError(error.message) from None
    if not (MIN_HEIGHT <= height <= MAX_SIDE and MIN_WIDTH <= width <= MAX_SIDE):
        raise argparse.ArgumentTypeError(
            f"{text}: the codec takes {MIN_HEIGHT}x{MIN_WIDTH} to {MAX_SIDE}x{MAX_SIDE} (height x width)"
        )
    return height, width


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m mdic_ros.cli.demo",
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
    """Default size for images of this size: 128 high (or as they are, if lower), sides whole features."""
    scale = min(1.0, _HEIGHT / height)
    rows, columns = (round(side * scale / FEATURE_STRIDE) * FEATURE_STRIDE for side in (height, width))
    return max(MIN_HEIGHT, rows), max(MIN_WIDTH, columns)


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
    missing = [name for name in ("rclpy", "mdic_ros.msg") if importlib.util.find_spec(name) is None]
    if missing:
        raise DemoError(
            f"ROS 2 or this package's messages are not to be found here: no {' and no '.join(missing)}. In a checkout "
            "run `make setup`, then `make demo`; on a ROS host build the package with colcon and source its "
            "install/setup.bash."
        )


def demo(options: argparse.Namespace, console: Console) -> None:
    """The whole demo. Raises MdicError: DemoError, or DatasetError and BundleError of what it is given."""
    _check_ros()
    need("eval")
    recording = _recording(options.bag)
    # Late: torch takes a second or two, which --help and mistakes need not wait for.
    from mdic_ros.cli.demo.play import Settings
    from mdic_ros.cli.demo.run import run
    from mdic_ros.codec import Bundle, BundleError

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
        run(settings, source, bundle, console, options.words)


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Exits with 0; 1 when something stood in the way, 2 for bad options, 130 after Ctrl-C."""
    options = parse(arguments)
    options.words = list(sys.argv[1:] if arguments is None else arguments)
    console = Console(force_terminal=False if os.environ.get("CI") else None)
    started = time.monotonic()
    try:
        with orderly_exit():  # so that the nodes are ended, too
            demo(options, console)
    except MdicError as error:
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
