"""The command: see `python -m mdic_ros.cli.demo --help`."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from mdic_ros.cli.demo.errors import DemoError
from mdic_ros.cli.demo.recording import write_frames
from mdic_ros.cli.limits import CODED, number, parse_size
from mdic_ros.cli.options import (
    CamerasOption,
    LayoutOption,
    LeftOption,
    ModelOption,
    RectifyImagesOption,
    RightOption,
    SlopOption,
    source_options,
)
from mdic_ros.cli.signals import orderly_exit
from mdic_ros.codec.bitstream import FEATURE_STRIDE, MIN_HEIGHT, MIN_WIDTH
from mdic_ros.datasets import StereoSource, open_stereo
from mdic_ros.datasets.bag_writer import check_output
from mdic_ros.datasets.temporary import temporary_folder
from mdic_ros.datasets.timing import DEFAULT_SLOP_S
from mdic_ros.errors import MdicError
from mdic_ros.extras import need
from mdic_ros.resources import resource

SAMPLE = "sample/street"
#: Frames that are played of a longer recording unless --frames says otherwise.
_MOST_FRAMES = 60
_HEIGHT = 128  # of the coded image by default: what two cores decode several times a second


app = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)


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


@app.command()
def demo(
    context: typer.Context,
    bag: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Recording to play: a bag, a KITTI or EuRoC folder, a folder with left/ and right/; without it the "
            f"sample that ships, {SAMPLE}.",
        ),
    ] = None,
    model: ModelOption = None,
    rate: Annotated[
        int, number("rate_point_or_finest", metavar="R", help="Rate point: 0 has the fewest bytes, -1 is the finest.")
    ] = 1,
    steps: Annotated[
        int,
        number("steps", metavar="N", help="Diffusion steps: 1 is closest to the original, 2 and more are sharp."),
    ] = 2,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="HxW",
            help=f"Code at this height x width; without it {_HEIGHT} high, in the recording's shape.",
        ),
    ] = None,
    frames: Annotated[
        int | None,
        number("frames", metavar="N", help=f"Play the first N frames; without it all, up to {_MOST_FRAMES}."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="PATH", help="Folder to leave the results in.")] = Path("demo_output"),
    layout: LayoutOption = "auto",
    cameras: CamerasOption = "auto",
    left_topic: LeftOption = None,
    right_topic: RightOption = None,
    side_slop: SlopOption = DEFAULT_SLOP_S,
    rectify_images: RectifyImagesOption = None,
) -> None:
    """Play a recorded stereo drive through encoder_node, DDS and decoder_node, watch it and sum it up."""
    console = Console(force_terminal=False if os.environ.get("CI") else None)
    started = time.monotonic()
    coded = parse_size(size, least=CODED) if size else None
    reading = source_options(layout, cameras, left_topic, right_topic, side_slop, rectify_images)
    try:
        _check_ros()
        need("eval")
        recording = _recording(bag)
        # Late: torch takes a second or two, which --help and mistakes need not wait for.
        from mdic_ros.cli.demo.play import Settings
        from mdic_ros.cli.demo.run import run
        from mdic_ros.codec import Bundle, BundleError

        try:
            bundle = Bundle(model)
        except (BundleError, FileNotFoundError) as error:
            raise DemoError(f"no model to decode with: {error}") from error
        with open_stereo(recording, **reading) as source, ExitStack() as stack:
            count = min(len(source), frames or _MOST_FRAMES)
            try:
                out.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise DemoError(f"cannot make the folder {out}: {error.strerror}") from error
            check_output(out / "decoded", overwrite=True)
            played = recording
            if reading != source_options("auto", "auto", None, None, DEFAULT_SLOP_S, None):
                # replay_node knows none of these options.
                played = stack.enter_context(temporary_folder(out, ".recording-")) / "bag"
                _say(console, f"reading the first {count} frames of {recording} as these options say ...")
                write_frames(source, count, played)
            settings = Settings(
                recording=played.resolve(),
                frames=count,
                rate_hz=frame_rate(source, count),
                size=coded or coded_size(*source[0].left.shape[:2]),
                model=bundle.path.resolve(),
                steps=steps,
                rate_point=rate,
                out=out,
            )
            height, width = settings.size
            _say(
                console,
                f"{recording}: {len(source)} stereo frames ({source.layout}) at {settings.rate_hz:.3g} Hz, of which "
                f"{count} are coded at {height}x{width}; model {bundle.model_id} {bundle.fingerprint[:8]}",
            )
            run(settings, source, bundle, console, context.obj)
    except MdicError as error:
        Console(stderr=True).print(f"demo: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        Console(stderr=True).print("\ndemo: interrupted; the nodes have been stopped, nothing was kept but their logs")
        raise typer.Exit(130) from None
    _say(console, f"{time.monotonic() - started:.0f} s in all.")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Exits with 0; 1 when something stood in the way, 2 for bad options, 130 after Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    with orderly_exit():  # so that the nodes are ended, too
        app(args=words, prog_name="python -m mdic_ros.cli.demo", obj=words)
    sys.exit(0)


if __name__ == "__main__":
    main()
