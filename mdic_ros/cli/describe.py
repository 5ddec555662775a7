"""What a packet, a model bundle or a bag holds, printed for people: `mdic info` and `mdic bag info`.

Sizes are height x width here as everywhere.
"""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mdic_ros.cli.files import read_packet
from mdic_ros.codec import BitstreamError, Bundle, inspect
from mdic_ros.codec.bundle import CLASSES
from mdic_ros.datasets import DatasetError
from mdic_ros.datasets.bag import BagReader
from mdic_ros.datasets.bag_stereo import base_topic, image_topics, index_images, pair_topics, side_topic, stereo_topics
from mdic_ros.datasets.messages import BITSTREAM, STREAM_INFO, stamp_ns
from mdic_ros.datasets.timing import DEFAULT_SLOP_S, payload_kbps


def _print(content: Any) -> None:
    """A table, or a line as it is. Into a pipe, tables are wide, for grep."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    plain = isinstance(content, str)
    console.print(content, soft_wrap=plain, markup=not plain)


def _number(value: float, digits: int = 1) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def describe_bag(
    path: Path, left_topic: str | None = None, right_topic: str | None = None, slop_s: float = DEFAULT_SLOP_S
) -> None:
    """Topics, times, coded streams and the pairing of stereo images of a bag.

    Raises:
        DatasetError: not a bag, or damaged.
    """
    with BagReader(path) as reader:
        _topics(reader)
        _streams(reader)
        _pairing(reader, left_topic, right_topic, slop_s)


def _utc(nanoseconds: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=nanoseconds // 1000)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{nanoseconds % 1_000_000_000:09} UTC"


def _topics(reader: BagReader) -> None:
    duration = (reader.end_ns - reader.start_ns) / 1e9
    size = sum(path.stat().st_size for path in reader.files) / 1e6
    title = f"{escape(str(reader.path))}: {sum(t.count for t in reader.topics.values())} messages, {size:.1f} MB"
    table = Table(title=title, title_justify="left")
    table.add_column("topic", overflow="fold")
    table.add_column("type", overflow="fold")
    table.add_column("messages", justify="right")
    table.add_column("Hz", justify="right")
    for name, topic in reader.topics.items():
        rate = (topic.count - 1) / duration if duration and topic.count > 1 else math.nan
        table.add_row(escape(name), topic.msgtype, str(topic.count), _number(rate, 2))
    _print(table)
    _print(f"recorded {_utc(reader.start_ns)} to {_utc(reader.end_ns)}, {duration:.3f} s")


def _pairing(reader: BagReader, left: str | None, right: str | None, slop_s: float) -> None:
    try:
        names = stereo_topics(reader.topics, left, right)
    except DatasetError as error:
        if left or right:
            raise
        coded = next((name for name, topic in reader.topics.items() if topic.msgtype == BITSTREAM), None)
        side = side_topic(reader, coded) if coded else None
        if coded is None or side is None:
            cameras = {base_topic(name).rpartition("/")[0] for name in image_topics(reader.topics)}
            if len(cameras) > 1:
                _print(f"stereo: {error}")
            return
        names = (side, coded) if _view(reader, coded) == "right" else (coded, side)
    topics = index_images(reader, names)
    for name in names:
        stamps = np.array(topics[name].stamps)
        if not stamps.size:
            _print(f"{name}: not one of its messages has a header that can be read")
            continue
        gaps = np.diff(stamps) / 1e6
        interval = f", every {np.median(gaps):.1f} ms (longest gap {gaps.max():.1f} ms)" if gaps.size else ""
        recorded = [entry.stamp_ns for entry in sorted(topics[name].entries, key=lambda e: e[1:])]
        order = "" if recorded == sorted(recorded) else ", NOT recorded in order of their stamps"
        broken = f", {topics[name].broken} damaged" if topics[name].broken else ""
        _print(f"{name}: {stamps.size} stamps from {_utc(int(stamps[0]))}{interval}{order}{broken}")
    one, other = (topics[name] for name in names)
    pairs, problem = pair_topics(one, other, slop_s)
    text = f"stereo: {len(pairs)} pairs within {slop_s:g} s, {len(one.entries) - len(pairs)} left and "
    text += f"{len(other.entries) - len(pairs)} right alone"
    if problem:
        text += f"; by recording time, as {problem}"
    if pairs:
        by_time = bool(problem)
        offsets = np.array([other.time_of(j, by_time) - one.time_of(i, by_time) for i, j in pairs]) / 1e6
        text += f"; right minus left {offsets.mean():+.3f} ms (from {offsets.min():+.3f} to {offsets.max():+.3f})"
    _print(text)


def _streams(reader: BagReader) -> None:
    for name, topic in reader.topics.items():
        if topic.msgtype == STREAM_INFO:
            infos, damaged = _decoded(reader, name)
            for info in infos:
                _print(
                    f"{name}: {info.model_id} {info.fingerprint[:8]}, {info.rate_points} rate points, "
                    f"{info.height}x{info.width} coded as {info.coded_height}x{info.coded_width}"
                )
        elif topic.msgtype == BITSTREAM:
            packets, damaged = _decoded(reader, name)
            if packets:
                sizes = [len(packet.data) for packet in packets]
                rate = payload_kbps(sizes, [stamp_ns(packet.header) for packet in packets])
                _print(
                    f"{name}: {len(sizes)} packets of the {_view(reader, name)} camera, "
                    f"{min(sizes)} to {max(sizes)} bytes, {sum(sizes) / len(sizes):.1f} on average, "
                    f"{_number(rate, 2)} kbit/s"
                )
        else:
            continue
        if damaged:
            _print(f"{name}: {len(damaged)} damaged messages; the first: {damaged[0]}")


def _decoded(reader: BagReader, topic: str) -> tuple[list[Any], list[str]]:
    """The messages of a topic, and a sentence for each that is damaged."""
    messages, damaged = [], []
    for message in reader.messages([topic]):
        try:
            messages.append(reader.decode(message))
        except DatasetError as error:
            damaged.append(str(error))
    return messages, damaged


def _view(reader: BagReader, topic: str) -> str:
    """Which camera a Bitstream topic is of, by its first packet that has a header; left if none has."""
    for message in reader.messages([topic]):
        try:
            return inspect(bytes(reader.decode(message).data)).view
        except (BitstreamError, DatasetError):
            continue
    return "left"


def describe_bundle(path: Path) -> None:
    """Components of a model bundle, their classes and sizes; every file that is there is checked against its digest.

    Raises:
        BundleError: not a bundle, or damaged. A robot's copy may lack components that only the workstation reads.
    """
    bundle = Bundle(path)
    table = Table("component", "class")
    table.add_column("parameters", justify="right")
    table.add_column("MB", justify="right")
    total, size, missing = 0, 0, 0
    for name in bundle.components:
        kind = ".".join(CLASSES[name])
        if not (bundle.path / name).exists():
            table.add_row(name, kind, "not here", "-")
            missing += 1
            continue
        files = [file for file in sorted(bundle.check(name).rglob("*")) if file.is_file()]
        parameters = sum(_parameters(file) for file in files if file.suffix == ".safetensors")
        on_disk = sum(file.stat().st_size for file in files)
        table.add_row(name, kind, f"{parameters:,}" if parameters else "-", f"{on_disk / 1e6:.2f}")
        total, size = total + parameters, size + on_disk
    _print(f"{path}: {bundle.model_id}, fingerprint {bundle.fingerprint}, guidance {bundle.guidance:g}")
    _print(table)
    lacking = f"; {missing} components are not here" if missing else ""
    _print(f"{total:,} parameters, {size / 1e6:.1f} MB{lacking}; every file is as its digest says")


def _parameters(file: Path) -> int:
    """How many numbers a safetensors file holds, by its head."""
    from safetensors import safe_open

    with safe_open(file, "numpy") as tensors:
        return sum(math.prod(tensors.get_slice(key).get_shape()) for key in tensors.keys())  # noqa: SIM118


def describe_packet(path: Path) -> None:
    """The header of a packet.

    Raises:
        BitstreamError: not a packet.
    """
    data = read_packet(path)
    head = inspect(data)
    _print(
        f"{path}: {len(data)} bytes, {8 * len(data) / (head.height * head.width):.4f} bits per pixel\n"
        f"  image        {head.height}x{head.width}, of the {head.view} camera\n"
        f"  rate point   {head.rate_point} as sent; decoding shows whether it was cut\n"
        f"  model        one whose fingerprint begins with {head.fingerprint_byte:02x}\n"
        f"  container    version {head.version}"
    )
