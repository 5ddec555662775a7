"""Rows of an evaluation, one per picture, written to a file at once, so that an interrupted run can continue."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image as PillowImage

from mdic_ros.datasets.images import read_image
from mdic_ros.errors import ImageError
from mdic_ros.evaluation.errors import EvaluationError
from mdic_ros.evaluation.metrics import Image, decibel


class ResumeError(EvaluationError):
    """The output folder holds figures of another bundle, protocol, machine or data, or is damaged."""


class Job(NamedTuple):
    """One picture to decode and to measure."""

    image: str  #: "drive/frame"
    method: str  #: a variant of the codec ("full", "no side image" ...) or the name of an anchor
    setting: str  #: rate point, or the anchor's setting
    steps: int = 0  #: denoising steps; 0 for anchors
    other: str = ""  #: "drive/frame" of the other scene, for methods that need one


@dataclass(frozen=True)
class Row:
    """The result of a job."""

    job: Job
    pixels: str  #: digest of the views that were compared
    bytes: int  #: of the whole bitstream, header and checks included; for anchors see their `bytes_counted`
    bpp: float
    figures: dict[str, float]  #: metric -> value


class Rows:
    """Rows in memory and, with a folder, in `rows.jsonl` there; each process of several writes a file of its own.

    Args:
        folder: where the files are, or None to keep nothing.
        fingerprint: of the bundle.
        protocol: name of the protocol.
        process: number of this process; 0 writes `rows.jsonl`, others `rows-1.jsonl` ...
        maker: everything else that figures depend on: versions, kind of device.

    Raises:
        ResumeError: the folder's rows are of another bundle, protocol or maker, or damaged.
    """

    def __init__(self, folder: Path | None, fingerprint: str, protocol: str, process: int = 0, maker: str = "") -> None:
        self._folder = folder
        digest = sha256(maker.encode()).hexdigest()[:16]
        self._head = {"fingerprint": fingerprint, "protocol": protocol, "maker": digest}
        self._rows: dict[Job, Row] = {}
        self._file: Path | None = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = folder / ("rows.jsonl" if process == 0 else f"rows-{process}.jsonl")
            _cut_unfinished_line(self._file)
            self.read_all()

    def read_all(self) -> None:
        """Reads the files of all processes."""
        if self._folder is not None:
            for file in sorted(self._folder.glob("rows*.jsonl")):
                self._read(file)

    def _read(self, file: Path) -> None:
        try:
            lines = file.read_text(encoding="utf-8").split("\n")
        except UnicodeDecodeError as error:
            raise ResumeError(f"{file} is damaged ({error}): delete it") from error
        for number, line in enumerate(lines[:-1], 1):  # text after the last line break is an unfinished row
            try:
                entry = json.loads(line)
                head = {name: entry.pop(name, "") for name in self._head}
                entry["job"] = Job(*entry["job"])
                row = Row(**entry)
                _check(row)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ResumeError(f"{file}, line {number} is damaged ({error}): delete the line or the file") from error
            if {**head, "maker": ""} != {**self._head, "maker": ""}:
                raise ResumeError(
                    f"{self._folder} holds figures of bundle {head['fingerprint'][:8]} in protocol {head['protocol']}, "
                    f"not of {self._head['fingerprint'][:8]} in {self._head['protocol']}: take another --output, "
                    f"or delete the old one"
                )
            if head != self._head:
                raise ResumeError(
                    f"{self._folder} holds figures of other code or libraries, or of another kind of device: "
                    f"take another --output, or delete the old one"
                )
            self._rows[row.job] = row

    def add(self, row: Row) -> None:
        """Keeps a row, on disk at once."""
        self._rows[row.job] = row
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**self._head, **asdict(row), "job": list(row.job)}) + "\n")

    def find(self, job: Job, pixels: str, figures: Iterable[str]) -> Row | None:
        """The row of a job, if there is one with all of these figures.

        Raises:
            ResumeError: there is one, but of other pixels.
        """
        row = self._rows.get(job)
        if row is None:
            return None
        if row.pixels != pixels:
            raise ResumeError(
                f"{self._folder} holds figures of another image named {job.image}: take another --output, "
                f"or delete the old one"
            )
        return row if set(figures) <= set(row.figures) else None

    def select(self, jobs: Iterable[Job]) -> list[Row]:
        """The rows of these jobs, in their order; all must be there."""
        return [self._rows[job] for job in jobs]


def _check(row: Row) -> None:
    """Checks the types in a row that was read.

    Raises:
        TypeError: one is wrong, such as a word in place of a figure.
    """
    texts = (row.pixels, row.job.image, row.job.method, row.job.setting, row.job.other)
    numbers = (row.bytes, row.job.steps, row.bpp, *dict(row.figures).values())
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(n, (int, float)) for n in numbers):
        raise TypeError("a text or a number is something else")


def _cut_unfinished_line(file: Path) -> None:
    """Removes the unfinished row of an interrupted run, so that the next row begins a line."""
    if file.exists():
        data = file.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with file.open("r+b") as opened:
                opened.truncate(whole)


class Pictures:
    """Decoded pictures as PNG files, for metrics of whole sets and for contact sheets.

    Args:
        folder: files are `<method>/<setting>/<drive>/<frame>.png` in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, job: Job) -> Path:
        """Path of the picture of a job."""
        setting = job.setting if not job.steps else f"{job.setting}_{job.steps}_steps"
        place = self._folder / slug(job.method) / slug(setting)
        *folders, frame = map(unique_slug, job.image.split("/"))
        return place.joinpath(*folders, f"{frame}.png")

    def save(self, job: Job, image: Image) -> None:
        """Keeps the picture of a job, H x W x 3 uint8 RGB, whole or not at all."""
        path = self.path(job)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        PillowImage.fromarray(image).save(part, "PNG", compress_level=3)
        part.replace(path)

    def load(self, job: Job) -> Image:
        """The picture of a job, H x W x 3 uint8 RGB.

        Raises:
            ResumeError: the file is damaged.
        """
        try:
            return read_image(self.path(job))
        except ImageError as error:
            raise ResumeError(f"{error}. Delete {self.path(job)}: the same command makes it again") from error


def slug(name: str) -> str:
    """A name of letters, digits, '-' and '_', valid on any file system."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)


def unique_slug(name: str) -> str:
    """As `slug`, but unique: a name that changes gets six digits of its hash."""
    plain = slug(name)
    return plain if plain == name else f"{plain}-{sha256(name.encode()).hexdigest()[:6]}"


def group(rows: Iterable[Row]) -> dict[tuple[str, str, int], list[Row]]:
    """Rows by (method, setting, steps), in their order."""
    groups: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.job.method, row.job.setting, row.job.steps), []).append(row)
    return groups


def summarise(rows: Sequence[Row], metrics: Iterable[str]) -> dict[str, Any]:
    """Means over rows of bytes (and their maximum), bpp and figures; "MS-SSIM dB" is that of the mean, as papers do.

    Args:
        rows: of one method, setting and steps.
        metrics: names of the figures; rows of an earlier run may have more.
    """
    figures = {name: mean([row.figures[name] for row in rows]) for name in metrics}
    if "MS-SSIM" in figures:
        figures["MS-SSIM dB"] = decibel(figures["MS-SSIM"])
    return {
        "method": rows[0].job.method,
        "setting": rows[0].job.setting,
        "steps": rows[0].job.steps,
        "images": len(rows),
        "bytes": statistics.fmean(row.bytes for row in rows),
        "max_bytes": max(row.bytes for row in rows),
        "bpp": statistics.fmean(row.bpp for row in rows),
        "figures": figures,
    }


def mean(values: Sequence[float]) -> float:
    """Mean of the finite values; infinite or nan if none is finite."""
    return statistics.fmean([value for value in values if math.isfinite(value)] or values)


class Lazy(Sequence[Image]):
    """Images that are read at every access, so that a set of any size needs the memory of one.

    Args:
        read: one function per image that returns it.
    """

    def __init__(self, read: Sequence[Callable[[], Image]]) -> None:
        self._read = read

    def __len__(self) -> int:
        return len(self._read)

    def __getitem__(self, index: Any) -> Any:
        return [read() for read in self._read[index]] if isinstance(index, slice) else self._read[index]()


class Spool:
    """Keeps images on disk instead of in memory; equal images once.

    Args:
        folder: of the files; the caller deletes it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, image: Image) -> Path:
        """Writes an image and returns its path, for `numpy.load`."""
        path = self._folder / f"{sha256(str(image.shape).encode() + image.tobytes()).hexdigest()}.npy"
        if not path.exists():
            np.save(path, image)
        return path
