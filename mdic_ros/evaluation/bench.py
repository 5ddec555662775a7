"""What a bundle costs on this machine: encoding and decoding by stage, size and steps, and the memory of either half.

Times are of single frames, one after the other, as a node codes them: the median and the 95th percentile. Memory is
measured in processes of their own, one that only encodes and one that only decodes, each fresh, as on two machines.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mdic_ros.evaluation.made import machine, versions

Image = npt.NDArray[np.uint8]  #: H x W x 3 uint8 RGB
Progress = Callable[[int, int], None]

PICTURES = 5  #: different frames, in turns
WARM_UP = PICTURES  #: frames before those that count, each once: first calls pick kernels and take memory
#: What a user would pick instead, by name in `anchors.ANCHORS`.
OTHERS = ("JPEG", "WebP", "x265 intra")


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        sizes: (height, width) of the coded images, pixels.
        steps: numbers of denoising steps.
        device: where both halves run.
        frames: how many frames each figure is made of.
        threads: of torch on the CPU; None = as torch chooses.
    """

    sizes: tuple[tuple[int, int], ...] = ((128, 256), (256, 512), (375, 1242))
    steps: tuple[int, ...] = (1, 2, 4, 10)
    device: str = "cpu"
    frames: int = 20
    threads: int | None = None


def run(model: Path | None, options: Options, progress: Progress = lambda done, total: None) -> dict[str, Any]:
    """Measures a bundle.

    Args:
        model: folder of the bundle; None = the shipped one.
        progress: is told how many of how many measurements are done.

    Returns:
        What JSON can hold: "machine", "versions", "model", "options", "pictures" (where they are from), "times" (one
        entry per half, size and steps: milliseconds by stage), "others" (milliseconds of conventional codecs), "memory"
        (MiB of either half's process by size).

    Raises:
        BundleError: the folder is no whole, undamaged bundle.
        ValueError: a size that cannot be coded.
        ChildProcessError: a process that measures memory failed.
    """
    from mdic_ros.codec import Decoder, Encoder

    if options.threads:
        torch.set_num_threads(options.threads)
    sizes = sorted(options.sizes, key=lambda size: size[0] * size[1])
    encoder, decoder = Encoder.from_pretrained(model, options.device), Decoder.from_pretrained(model, options.device)
    done, total = 0, len(sizes) * (1 + len(options.steps) + len(OTHERS)) + 2
    times, others = [], []
    pairs: dict[tuple[int, int], list[tuple[Image, Image]]] = {}
    streams: dict[tuple[int, int], list[bytes]] = {}

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    progress(0, total)
    for size in sizes:
        pairs[size], pictures = stereo_pairs(*size)
        streams[size] = [encoder.encode(left) for left, _ in pairs[size]]

        def encode(number: int, size: tuple[int, int] = size) -> Mapping[str, float]:
            encoder.encode_all(pairs[size][number][0])
            return encoder.timings

        times.append({"half": "encode", "size": _name(size), "steps": None, **_stages(encode, options.frames)})
        step()
        for steps in options.steps:

            def decode(number: int, size: tuple[int, int] = size, steps: int = steps) -> Mapping[str, float]:
                decoder.forget_texts()  # a scene's caption is new, and its encoding part of the time
                return decoder.decode(streams[size][number], pairs[size][number][1], steps=steps).timings

            times.append({"half": "decode", "size": _name(size), "steps": steps, **_stages(decode, options.frames)})
            step()
        for name in OTHERS:
            others.append({"codec": name, "size": _name(size), **_other(name, pairs[size], options.frames)})
            step()
    memory = {}
    for half in ("encoder", "decoder"):
        memory[half] = _memory(half, model, options, sizes, pairs, streams)
        step()
    return {
        "machine": machine(torch.device(options.device)),
        "versions": versions(),
        "model": {"model_id": encoder.model_id, "fingerprint": encoder.fingerprint},
        "options": {
            "device": options.device,
            "threads": torch.get_num_threads(),
            "frames": options.frames,
            "bytes": {_name(size): round(float(np.mean([len(s) for s in streams[size]]))) for size in sizes},
        },
        "pictures": pictures,
        "times": times,
        "others": others,
        "memory": memory,
    }


def stereo_pairs(height: int, width: int) -> tuple[list[tuple[Image, Image]], str]:
    """Some pairs of the rendered sample drive, of seeded noise where it is absent, and which of the two they are."""
    from mdic_ros.codec.images import resize_image
    from mdic_ros.datasets import open_stereo
    from mdic_ros.resources import resource

    try:
        with open_stereo(resource("sample/street")) as source:
            frames = [source[number] for number in np.linspace(0, len(source) - 1, PICTURES).astype(int).tolist()]
            views = [(frame.left, frame.right) for frame in frames]
        origin = "sample/street"
    except (OSError, ValueError):
        random = np.random.default_rng(0)
        noise = [random.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8) for _ in range(PICTURES)]
        views, origin = [(image, np.roll(image, -1, 1)) for image in noise], "smooth noise"
    return [(resize_image(left, height, width), resize_image(right, height, width)) for left, right in views], origin


def _stages(code: Callable[[int], Mapping[str, float]], frames: int) -> dict[str, Any]:
    """{"stages": {stage: {"median", "p95"}}}, milliseconds, of a function of the picture's number."""
    laps = [code(number % PICTURES) for number in range(WARM_UP + frames)][WARM_UP:]
    return {"stages": {stage: _summary([lap[stage] for lap in laps]) for stage in laps[0]}}


def _summary(milliseconds: Sequence[float]) -> dict[str, float]:
    return {"median": float(np.median(milliseconds)), "p95": float(np.quantile(milliseconds, 0.95))}


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


# --- memory --------------------------------------------------------------------------------------------------


def _memory(
    half: str,
    model: Path | None,
    options: Options,
    sizes: Sequence[tuple[int, int]],
    pairs: Mapping[tuple[int, int], Sequence[tuple[Image, Image]]],
    streams: Mapping[tuple[int, int], Sequence[bytes]],
) -> dict[str, Any]:
    """Runs one half in a process of its own, sizes in growing order, and asks for its peak after each."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "frames.npz"
        arrays: dict[str, Any] = {}
        for number, size in enumerate(sizes):
            arrays[f"left{number}"], arrays[f"right{number}"] = pairs[size][0]
            arrays[f"stream{number}"] = np.frombuffer(streams[size][0], np.uint8)
        np.savez(file, **arrays)
        task = {
            "half": half,
            "model": None if model is None else str(model),
            "device": options.device,
            "threads": options.threads,
            "file": str(file),
            "sizes": [_name(size) for size in sizes],
        }
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        found = subprocess.run(
            [sys.executable, "-m", "mdic_ros.evaluation.bench", json.dumps(task)],
            stdout=subprocess.PIPE,
            check=False,
            env={**os.environ, "PYTHONPATH": path},
        )
    if found.returncode:
        raise ChildProcessError(
            f"the process that measures the {half}'s memory failed (exit status {found.returncode}; what it wrote is "
            "above): it may have had too little memory, so try a smaller --size"
        )
    result: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return result


def _child(task: Mapping[str, Any]) -> dict[str, Any]:
    """One half of a bundle and nothing else in this process: MiB once loaded, and at most by the end of each size."""
    if task["threads"]:
        torch.set_num_threads(task["threads"])
    half: str = task["half"]
    module = importlib.import_module(f"mdic_ros.codec.{half}")  # no more than a node of this half imports
    codec = getattr(module, half.capitalize()).from_pretrained(task["model"], task["device"])
    loaded = _peak_mib()
    on_cuda = torch.device(task["device"]).type == "cuda"
    peaks, cuda_peaks = {}, {}
    with np.load(task["file"]) as arrays:
        for number, size in enumerate(task["sizes"]):
            for _ in range(WARM_UP + 1):
                if half == "encoder":
                    codec.encode_all(arrays[f"left{number}"])
                else:
                    codec.decode(arrays[f"stream{number}"].tobytes(), arrays[f"right{number}"])
            peaks[size] = _peak_mib()
            if on_cuda:
                cuda_peaks[size] = round(torch.cuda.max_memory_allocated(task["device"]) / 2**20)
    return {"loaded": loaded, "peak": peaks, **({"cuda_peak": cuda_peaks} if on_cuda else {})}


def _peak_mib() -> int:
    """Largest resident memory of this process so far, MiB."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage counts what the parent had at the time of the fork, this does not
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return round(int(line.split()[1]) / 2**10)
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)


# --- report --------------------------------------------------------------------------------------------------


def markdown(report: Mapping[str, Any]) -> str:
    """The report as Markdown tables."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    made, options, model = report["machine"], report["options"], report["model"]
    where = made["processor"] if made["device"] == "cpu" else made["device"]
    yield (
        f"`{model['model_id']}` ({model['fingerprint'][:12]}) on {where}, "
        f"{options['threads']} threads, torch {report['versions']['torch']}; {options['frames']} frames each, pictures "
        f"of {report['pictures']}. Milliseconds: median (95th percentile)."
    )
    for half, what in (("encode", "all rate points"), ("decode", "finest rate point, caption made anew")):
        rows = [row for row in report["times"] if row["half"] == half]
        stages = list(rows[0]["stages"]) if rows else []
        steps = ["steps"] if half == "decode" else []
        yield from ("", f"**{half}**, {what}", "", _row(["size", *steps, *stages, "frames/s"]))
        yield _row(["---"] * (len(stages) + len(steps) + 2))
        for row in rows:
            cells = [f"{time['median']:.1f} ({time['p95']:.1f})" for time in row["stages"].values()]
            rate = f"{1e3 / row['stages']['total']['median']:.1f}"
            yield _row([row["size"], *([str(row["steps"])] if steps else []), *cells, rate])
    yield from ("", "**other codecs**, coarsest setting, encode and decode together", "")
    yield from (_row(["codec", "size", "bytes", "total", f"bytes of {model['model_id']}"]), _row(["---"] * 5))
    for row in report["others"]:
        total = f"{row['total']['median']:.1f} ({row['total']['p95']:.1f})"
        yield _row([row["codec"], row["size"], str(row["bytes"]), total, str(options["bytes"][row["size"]])])
    yield from ("", "**memory** of a process, MiB: loaded, and at most by size", "")
    sizes = list(options["bytes"])
    yield from (_row(["process", "loaded", *sizes]), _row(["---"] * (2 + len(sizes))))
    for half, found in report["memory"].items():
        yield _row([half, str(found["loaded"]), *(str(found["peak"][size]) for size in sizes)])
        if "cuda_peak" in found:
            yield _row([f"{half}, on the GPU", "", *(str(found["cuda_peak"][size]) for size in sizes)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _name(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


if __name__ == "__main__":
    print(json.dumps(_child(json.loads(sys.argv[1]))))
