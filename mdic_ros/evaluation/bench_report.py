"""What `mdic bench` has measured, as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_PROCESSES = {"encoder": "encoder", "torch_encoder": "encoder in PyTorch", "decoder": "decoder"}


def markdown(report: Mapping[str, Any]) -> str:
    """The report of `bench.run` as Markdown tables."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    machine, options, model, versions = (report[name] for name in ("machine", "options", "model", "versions"))
    where = machine["processor"] if machine["device"] == "cpu" else machine["device"]
    if options["encoder_device"] != options["device"]:
        where += f" (encoder: {machine['processor']})"
    libraries = ", ".join(f"{name} {versions[name]}" for name in ("onnxruntime", "torch") if name in versions)
    yield (
        f"`{model['model_id']}` ({model['fingerprint'][:12]}) on {where}, {options['threads']} threads, {libraries}; "
        f"{options['frames']} frames each, pictures of {report['pictures']}. Milliseconds: median (95th percentile)."
    )
    yield from _encode(report, options["busy"])
    yield from _decode(report, options["busy"])
    if report["others"]:
        yield from _table(
            "**other codecs**, coarsest setting, encode and decode together",
            ["codec", "size", "bytes", "total", f"bytes of {model['model_id']}"],
            (
                [row["codec"], row["size"], row["bytes"], _time(row["total"]), options["bytes"][row["size"]]]
                for row in report["others"]
            ),
        )
    yield from _processes(report)
    yield from _installed(report["install"])


def _encode(report: Mapping[str, Any], busy: int) -> Iterator[str]:
    rows = [row for row in report["times"] if row["half"] == "encode"]
    with_torch = "pytorch" in rows[0]
    stages = list(rows[0]["stages"])
    yield from _table(
        "**encode**",
        [
            "size",
            "rate point",
            *stages,
            "frames/s",
            *(["PyTorch", "frames/s"] if with_torch else []),
            *_busy_head(busy),
        ],
        (
            [
                row["size"],
                row["rate_point"],
                *map(_time, row["stages"].values()),
                _rate(row["stages"]),
                *([_time(row["pytorch"]["total"]), _rate(row["pytorch"])] if with_torch else []),
                *_busy(row),
            ]
            for row in rows
        ),
    )


def _decode(report: Mapping[str, Any], busy: int) -> Iterator[str]:
    rows = [row for row in report["times"] if row["half"] == "decode"]
    if not rows:
        return
    yield from _table(
        "**decode**, finest rate point, caption made anew",
        ["size", "steps", *rows[0]["stages"], "frames/s", *_busy_head(busy)],
        (
            [row["size"], row["steps"], *map(_time, row["stages"].values()), _rate(row["stages"]), *_busy(row)]
            for row in rows
        ),
    )


def _processes(report: Mapping[str, Any]) -> Iterator[str]:
    sizes = list(report["options"]["bytes"])
    rows: list[list[Any]] = []
    for half, found in report["processes"].items():
        name = _PROCESSES[half]
        rows.append([name, f"{found['first_s']:.1f}", found["loaded"], *(found["peak"][size] for size in sizes)])
        if "cuda_peak" in found:
            rows.append([f"{name}, on the GPU", "", "", *(found["cuda_peak"][size] for size in sizes)])
    yield from _table(
        "**processes**, fresh: seconds from the start to the first result; memory in MiB, loaded, and at most by size",
        ["process", "first result", "loaded", *sizes],
        rows,
    )


def _installed(sizes: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    bundle = sizes["bundle"]
    rows = [[name, size["packages"], size["MB"]] for name, size in sizes.items() if name != "bundle"]
    yield from _table("**installed** libraries, MB", ["install", "packages", "MB"], rows)
    yield from ("", f"The bundle that ships has {bundle['MB']} MB, of which the robot reads {bundle['robot_MB']}.")


def _table(title: str, head: Sequence[str], rows: Iterator[list[Any]] | Sequence[list[Any]]) -> Iterator[str]:
    yield from ("", title, "", _row(head), _row(["---"] * len(head)))
    yield from map(_row, rows)


def _row(cells: Sequence[Any]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _time(time: Mapping[str, float]) -> str:
    return f"{time['median']:.1f} ({time['p95']:.1f})"


def _rate(stages: Mapping[str, Mapping[str, float]]) -> str:
    return f"{1e3 / stages['total']['median']:.1f}"


def _busy_head(busy: int) -> list[str]:
    return [f"beside {busy} busy loops", "times"] if busy else []


def _busy(row: Mapping[str, Any]) -> list[str]:
    if "busy" not in row:
        return []
    total = row["busy"]["total"]
    return [_time(total), f"{total['median'] / row['stages']['total']['median']:.1f}"]
