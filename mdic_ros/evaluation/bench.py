"""What a bundle costs on this machine: times by stage, size, rate point and steps; start-up, memory, install size.

Times are of single frames, one after the other, as a node codes them: the median and the 95th percentile. The encoder
takes turns with the same networks in PyTorch. Start-up and memory are measured in processes of their own, each fresh,
as on two machines.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mdic_ros.codec import Bundle, Encoder
from mdic_ros.codec.encoder import usable_device
from mdic_ros.evaluation.bench_process import WARM_UP, measure_process
from mdic_ros.evaluation.install_size import install_sizes
from mdic_ros.evaluation.provenance import machine, versions
from mdic_ros.extras import need

Image = npt.NDArray[np.uint8]  #: H x W x 3 uint8 RGB
Size = tuple[int, int]  #: height, width
Progress = Callable[[int, int], None]
Times = Mapping[str, float]  #: milliseconds by stage, "total" among them

PICTURES = WARM_UP  #: different frames, in turns
_TURN = 10  # frames of one coder before the next
#: What a user would pick instead, by name in `anchors.ANCHORS`.
OTHERS = ("JPEG", "WebP", "x265 intra")


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        sizes: (height, width) of the coded images, pixels.
        steps: numbers of denoising steps.
        device: where both halves run. The encoder stays on the CPU if ONNX Runtime was installed without CUDA.
        frames: how many frames each figure is made of.
        threads: of the networks on the CPU; 0 = one for each core.
        busy: also measure beside this number of processes that do nothing but count; 0 = only alone.
        encode_only: only the robot's half, which needs no PyTorch.
    """

    sizes: tuple[Size, ...] = ((128, 256), (256, 512), (375, 1242))
    steps: tuple[int, ...] = (1, 2, 4, 10)
    device: str = "cpu"
    frames: int = 20
    threads: int = 0
    busy: int = 0
    encode_only: bool = False


def run(model: Path | None, options: Options, progress: Progress = lambda done, total: None) -> dict[str, Any]:
    """Measures a bundle.

    Args:
        model: folder of the bundle; None = the shipped one.
        progress: is told how many of how many measurements are done.

    Returns:
        What JSON can hold: "machine", "versions", "model", "options", "pictures" (where they are from), "install" (MB
        of what is installed), "times" (one entry per half, size, rate point and steps: milliseconds by stage),
        "others" (milliseconds of conventional codecs), "processes" (of each half alone: seconds from its start to the
        first result, MiB by size).

    Raises:
        BundleError: the folder is no whole, undamaged bundle.
        ImageError: a size that cannot be coded.
        MissingExtraError: the decoder's libraries are missing, unless `encode_only`.
        ChildProcessError: a process of its own failed.
    """
    if not options.encode_only:
        need("eval", "on a robot `--encode-only` needs nothing more")
    options = replace(options, sizes=tuple(sorted(options.sizes, key=lambda size: size[0] * size[1])))
    encoder_device = usable_device(options.device) if options.device.startswith("cuda") else options.device
    encoder = Encoder.from_pretrained(model, encoder_device, options.threads)
    points = sorted({min(2, encoder.rate_points - 1), encoder.rate_points - 1})
    halves = ["encoder"] if options.encode_only else ["encoder", "torch_encoder", "decoder"]
    rows = len(points) + (0 if options.encode_only else len(options.steps) + len(OTHERS))
    done, total = 0, len(options.sizes) * rows + len(halves)

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    progress(0, total)
    others: list[dict[str, Any]] = []
    pairs: dict[Size, list[tuple[Image, Image]]] = {}
    for size in options.sizes:
        pairs[size], pictures = stereo_pairs(*size)
    packets = {size: [encoder.encode(left) for left, _ in pairs[size]] for size in options.sizes}
    times = list(_encode_times(model, encoder, points, pairs, options, step))
    if not options.encode_only:
        times += _decode_times(model, packets, pairs, options, step)
        for size in options.sizes:
            for name in OTHERS:
                others.append({"codec": name, "size": name_of(size), **_other(name, pairs[size], options.frames)})
                step()
    processes = {}
    for half in halves:
        device = encoder_device if half == "encoder" else options.device
        processes[half] = measure_process(half, model, device, options.threads, pairs, packets)
        step()
    here = machine(options.device)
    return {
        "machine": here,
        "versions": versions(),
        "model": {"model_id": encoder.model_id, "fingerprint": encoder.fingerprint},
        "options": {
            "device": options.device,
            "encoder_device": encoder_device,
            "threads": options.threads or here["cores"],
            "frames": options.frames,
            "busy": options.busy,
            "bytes": {name_of(size): round(float(np.mean([len(p) for p in packets[size]]))) for size in options.sizes},
        },
        "pictures": pictures,
        "install": install_sizes(),
        "times": times,
        "others": others,
        "processes": processes,
    }


def stereo_pairs(height: int, width: int) -> tuple[list[tuple[Image, Image]], str]:
    """Some pairs of the rendered sample drive, of seeded noise where it is absent, and which of the two they are."""
    from mdic_ros.codec.images import resize_image
    from mdic_ros.datasets import DatasetError, open_stereo
    from mdic_ros.resources import resource

    try:
        with open_stereo(resource("sample/street")) as source:
            frames = [source[number] for number in np.linspace(0, len(source) - 1, PICTURES).astype(int).tolist()]
            views = [(frame.left, frame.right) for frame in frames]
        origin = "sample/street"
    except (OSError, DatasetError):
        random = np.random.default_rng(0)
        noise = [random.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8) for _ in range(PICTURES)]
        views, origin = [(image, np.roll(image, -1, 1)) for image in noise], "smooth noise"
    return [(resize_image(left, height, width), resize_image(right, height, width)) for left, right in views], origin


def name_of(size: Size) -> str:
    """A size as "128x256", height first."""
    return f"{size[0]}x{size[1]}"


# --- times ---------------------------------------------------------------------------------------------------


def _encode_times(
    model: Path | None,
    encoder: Encoder,
    points: Sequence[int],
    pairs: Mapping[Size, Sequence[tuple[Image, Image]]],
    options: Options,
    step: Callable[[], None],
) -> Iterator[dict[str, Any]]:
    """One row per size and rate point, PyTorch's times beside it."""
    coders: dict[str, Any] = {"stages": encoder}
    if not options.encode_only:
        from mdic_ros.evaluation.torch_encoder import TorchEncoder

        coders["pytorch"] = TorchEncoder(Bundle(model), options.device, options.threads)
    for size in options.sizes:
        for point in points:

            def encode(coder: Any, number: int, size: Size = size, point: int = point) -> Times:
                coder.encode(pairs[size][number][0], rate_point=point)
                return coder.timings

            codes = {name: lambda number, coder=coder: encode(coder, number) for name, coder in coders.items()}
            yield {"half": "encode", "size": name_of(size), "rate_point": point, **_measure(codes, options)}
            step()


def _decode_times(
    model: Path | None,
    packets: Mapping[Size, Sequence[bytes]],
    pairs: Mapping[Size, Sequence[tuple[Image, Image]]],
    options: Options,
    step: Callable[[], None],
) -> Iterator[dict[str, Any]]:
    """One row per size and number of steps, at the finest rate point."""
    from mdic_ros.codec import Decoder, SideView

    decoder = Decoder.from_pretrained(model, options.device, threads=options.threads)
    for size in options.sizes:
        for steps in options.steps:

            def decode(number: int, size: Size = size, steps: int = steps) -> Times:
                decoder.forget_texts()  # a scene's caption is new, and its encoding part of the time
                return decoder.decode(packets[size][number], [SideView(pairs[size][number][1])], steps=steps).timings

            yield {"half": "decode", "size": name_of(size), "steps": steps, **_measure({"stages": decode}, options)}
            step()


def _measure(codes: Mapping[str, Callable[[int], Times]], options: Options) -> dict[str, Any]:
    """Summaries by name of functions of the picture's number, which take turns; and of the first beside busy loops."""
    summaries = _stages(codes, options.frames)
    if options.busy:
        name = next(iter(codes))
        with busy_loops(options.busy):
            summaries["busy"] = _stages({name: codes[name]}, options.frames)[name]
    return summaries


def _stages(codes: Mapping[str, Callable[[int], Times]], frames: int) -> dict[str, Any]:
    """{name: {stage: {"median", "p95"}}}, milliseconds."""
    laps: dict[str, list[Times]] = {name: [] for name in codes}
    # Several frames a turn: the first one finds the caches full of what the other one left.
    for start in range(0, WARM_UP + frames, _TURN):
        for name, code in codes.items():
            turn = range(start, min(start + _TURN, WARM_UP + frames))
            laps[name] += [dict(code(number % PICTURES)) for number in turn]
    return {
        name: {stage: _summary([lap[stage] for lap in counted]) for stage in counted[0]}
        for name, counted in ((name, all_laps[WARM_UP:]) for name, all_laps in laps.items())
    }


def _summary(milliseconds: Sequence[float]) -> dict[str, float]:
    return {"median": float(np.median(milliseconds)), "p95": float(np.quantile(milliseconds, 0.95))}


@contextmanager
def busy_loops(count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that do nothing but count, as other work on a robot's processor; yields them."""
    code = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    for _ in range(10**5):\n        pass"
    loops = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(count)]
    try:
        yield loops
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def _other(name: str, pairs: Sequence[tuple[Image, Image]], frames: int) -> dict[str, Any]:
    """Encoding and decoding together, at the coarsest setting."""
    from mdic_ros.evaluation.anchors import ANCHORS

    (anchor,) = (anchor for anchor in ANCHORS if anchor.name == name)
    milliseconds, sizes = [], []
    for number in range(WARM_UP + frames):
        start = time.perf_counter()
        coded = anchor.code(*pairs[number % PICTURES], anchor.settings[0])
        milliseconds.append(1e3 * (time.perf_counter() - start))
        sizes.append(coded.bytes)
    timed = _summary(milliseconds[WARM_UP:])
    return {"setting": anchor.settings[0], "bytes": round(float(np.mean(sizes[:PICTURES]))), "total": timed}
