"""Codes, decodes and measures: every image at every rate point, by every variant and anchor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from mdic_ros.codec import Decoder, Encoder, ParsedPacket, SideView, View
from mdic_ros.evaluation import ablations
from mdic_ros.evaluation.anchors import Anchor
from mdic_ros.evaluation.errors import EvaluationError
from mdic_ros.evaluation.metrics import Image, ImageMetric
from mdic_ros.evaluation.protocol import as_coded, seen_share
from mdic_ros.evaluation.results import Job, Pictures, Row, Rows, Spool
from mdic_ros.evaluation.sources import read_pairs
from mdic_ros.evaluation.variants import ABLATIONS, BY_NAME, FULL
from mdic_ros.stream.vertical_disparity import VerticalDisparityTracker

#: MS-SSIM halves an image four times, and a window of 7 must still fit.
MIN_SIDE = 97

Progress = Callable[[int, int | None], None]  #: called with the number done and the total, None = unknown


@dataclass(frozen=True)
class Pair:
    """A coded image and its side image after a protocol's crop and resize, read from disk at every access.

    Attributes:
        drive, frame, view: see `mdic_ros.evaluation.sources.EvalPair`.
        size: (height, width) of both images.
        seen: share of the original's pixels within the protocol's crop, 0 to 1.
        files: of the coded image and of the side image.
        stale_files: number of frames -> file of the side camera's image that many frames before.
    """

    drive: str
    frame: str
    view: View
    size: tuple[int, int]
    seen: float
    files: tuple[Path, Path]
    stale_files: Mapping[int, Path]

    @property
    def coded(self) -> Image:
        """The image to code, H x W x 3 uint8 RGB."""
        return _load(self.files[0])

    @property
    def side(self) -> Image:
        """The side image, H x W x 3 uint8 RGB."""
        return _load(self.files[1])

    def stale(self, age: int) -> Image:
        """The side image of `age` frames before, H x W x 3 uint8 RGB."""
        return _load(self.stale_files[age])


def _load(file: Path) -> Image:
    image: Image = np.load(file)  # not mapped: every mapping holds a file open
    return image


def name_of(pair: Pair) -> str:
    """A pair as "drive/frame"."""
    return f"{pair.drive}/{pair.frame}"


def load_pairs(
    data: Path,
    protocol: str,
    limit: int | None,
    both_orders: bool,
    spool: Spool,
    progress: Progress = lambda done, total: None,
    most: int | None = None,
) -> list[Pair]:
    """The pairs of a data set as a protocol sees them, `most` of them at most; their pixels stay on disk.

    Raises:
        EvaluationError: there are no pairs, two have one name, or the protocol does not fit them.
    """
    pairs: dict[str, Pair] = {}
    for pair in read_pairs(data, limit, both_orders):
        name = f"{pair.drive}/{pair.frame}"
        if name in pairs:
            raise EvaluationError(f"{data} has two images named {name}: rename one of the drives")
        coded, side = as_coded(pair.coded, protocol), as_coded(pair.side, protocol)
        if min(coded.shape[:2]) < MIN_SIDE or coded.shape != side.shape:
            sizes = " and ".join(f"{image.shape[0]}x{image.shape[1]}" for image in (coded, side))
            raise EvaluationError(f"{name}: {sizes} pixels; MS-SSIM takes two of one size, from {MIN_SIDE} rows up")
        stale = {age: spool.keep(as_coded(image, protocol)) for age, image in pair.stale.items()}
        size, whole = (coded.shape[0], coded.shape[1]), pair.coded.shape
        share = seen_share(whole[0], whole[1], protocol)
        files = spool.keep(coded), spool.keep(side)
        pairs[name] = Pair(pair.drive, pair.frame, pair.view, size, share, files, stale)
        progress(len(pairs), most)
        if len(pairs) == most:
            break
    if not pairs:
        raise EvaluationError(f"{data} has no stereo pairs")
    return list(pairs.values())


def plan(
    pairs: Sequence[Pair],
    rate_points: int,
    steps: Sequence[int],
    ablations: bool,
    anchors: Sequence[Anchor],
) -> dict[str, list[Job]]:
    """The jobs of each image, by its name.

    Ablations decode in the fewest of `steps`. Jobs that lack something (an older side image, a second drive) are left
    out.
    """
    jobs: dict[str, list[Job]] = {}
    for number, pair in enumerate(pairs):
        name = name_of(pair)
        mine = [Job(name, FULL.name, str(point), n) for n in sorted(steps) for point in range(rate_points)]
        others = [p for p in pairs if p.drive != pair.drive and p.size == pair.size]
        # From the middle of the list on, since neighbours in it may show the same place.
        other = name_of(others[(number + len(others) // 2) % len(others)]) if others else ""
        for variant in ABLATIONS if ablations else ():
            if (variant.needs_other and not other) or (
                isinstance(variant.side, int) and variant.side not in pair.stale_files
            ):
                continue
            lender = other if variant.needs_other else ""
            mine += [Job(name, variant.name, str(point), min(steps), lender) for point in range(rate_points)]
        mine += [Job(name, anchor.name, str(setting)) for anchor in anchors for setting in anchor.settings]
        jobs[name] = mine
    return jobs


def make(
    pair: Pair,
    jobs: Iterable[Job],
    others: Mapping[str, Pair],
    encoder: Encoder,
    decoder: Decoder,
    anchors: Mapping[str, Anchor],
    common_rows: CommonRows,
) -> Iterator[tuple[Job, int, Image]]:
    """Runs the jobs of an image; yields each job, its number of bytes, and the decoded picture.

    Args:
        others: all pairs by name, for the jobs that need another scene.
        anchors: by name.
        common_rows: measures row offsets, for the jobs that correct them.
    """
    coded, own = pair.coded, pair.side
    packets: dict[int, ParsedPacket] = {}  # by rate point
    captions: dict[str, str] = {}

    def caption(source: str, image: Image) -> str:
        if source not in captions:
            captions[source] = decoder.caption(image)
        return captions[source]

    for job in jobs:
        if job.method in anchors:
            anchor = anchors[job.method]
            setting = next(s for s in anchor.settings if str(s) == job.setting)
            found = anchor.code(coded, own, setting)
            yield job, found.bytes, found.image
            continue
        packets = packets or dict(enumerate(map(decoder.read, encoder.encode_all(coded, view=pair.view))))
        variant = BY_NAME[job.method]
        foreign = others[job.other].side if job.other else None
        side: Image | None
        if isinstance(variant.side, int):
            side = pair.stale(variant.side)
        else:
            side = {"own": own, "none": None, "foreign": foreign}[variant.side]
        described, source = (foreign, "foreign") if variant.text == "foreign" else (side, str(variant.side))
        text = "" if variant.text == "none" or described is None else caption(source, described)
        if variant.drop and side is not None:
            side = lowered(side, variant.drop)
        packet = packets[int(job.setting)]
        rows = common_rows(pair, int(job.setting), variant.drop) if variant.rectify else 0.0
        views = [] if side is None else [SideView(side, rows)]
        with ablations.without(decoder.mdic, *variant.without):
            picture = decoder.decode(packet, views, caption=text, steps=job.steps)
        yield job, packet.size, picture.image


class CommonRows:
    """The row offset of a drive's rig, measured on its first images: as many as in a stream, or all if there are fewer.

    Args:
        pairs: all pairs of the evaluation.
        encoder, decoder: of the bundle that is evaluated.
    """

    def __init__(self, pairs: Iterable[Pair], encoder: Encoder, decoder: Decoder) -> None:
        self._pairs, self._encoder, self._decoder = list(pairs), encoder, decoder
        self._known: dict[tuple[object, ...], float] = {}

    def __call__(self, pair: Pair, point: int, drop: int) -> float:
        """Offset in rows at a rate point, with side images that were moved down by `drop` rows."""
        rig = (pair.drive, pair.view, pair.size)
        if (*rig, point, drop) not in self._known:
            tracker = VerticalDisparityTracker(self._decoder)
            for other in [p for p in self._pairs if (p.drive, p.view, p.size) == rig][: VerticalDisparityTracker.FIRST]:
                packet = self._decoder.read(self._encoder.encode(other.coded, rate_point=point, view=other.view))
                tracker.row_offset(packet, lowered(other.side, drop))
            self._known[(*rig, point, drop)] = tracker.measured.likely
        return self._known[(*rig, point, drop)]


def lowered(image: Image, rows: int) -> Image:
    """An image moved down by a number of rows; its first row is repeated above."""
    return np.concatenate([image[:1].repeat(rows, axis=0), image[:-rows]])


def measure(
    pairs: Sequence[Pair],
    jobs: Mapping[str, Sequence[Job]],
    *,
    encoder: Encoder,
    decoder: Decoder,
    anchors: Sequence[Anchor],
    metrics: Sequence[ImageMetric],
    rows: Rows,
    pictures: Pictures,
    share: tuple[int, int] = (0, 1),
    progress: Progress = lambda done, total: None,
) -> None:
    """Runs all jobs that have no row yet.

    Args:
        metrics: metrics of each picture.
        rows: rows of earlier runs; new rows are added.
        pictures: where pictures of the whole model and of anchors are kept, for metrics of whole sets.
        share: (number of this process, number of processes): each process takes every n-th image.
        progress: called with the number of jobs done and their total, of this share.
    """
    by_name = {name_of(pair): pair for pair in pairs}
    by_anchor = {anchor.name: anchor for anchor in anchors}
    common_rows = CommonRows(pairs, encoder, decoder)
    figures = [metric.name for metric in metrics]
    mine = list(pairs)[share[0] :: share[1]]
    total, done = sum(len(jobs[name_of(pair)]) for pair in mine), 0
    progress(done, total)
    for pair in mine:
        coded = pair.coded
        pixels = sha256(coded.tobytes() + pair.side.tobytes()).hexdigest()[:16]
        todo = [job for job in jobs[name_of(pair)] if not _is_done(job, pixels, figures, rows, pictures)]
        done += len(jobs[name_of(pair)]) - len(todo)
        for job, count, image in make(pair, todo, by_name, encoder, decoder, by_anchor, common_rows):
            found = {metric.name: metric.call(image, coded) for metric in metrics}
            if is_kept(job):
                pictures.save(job, image)
            height, width = pair.size
            rows.add(Row(job, pixels, count, 8 * count / (height * width), found))
            done += 1
            progress(done, total)
        progress(done, total)


def is_kept(job: Job) -> bool:
    """Whether a picture is kept: those of ablations are not, since no set and no contact sheet has them."""
    return job.method not in BY_NAME or job.method == FULL.name


def _is_done(job: Job, pixels: str, figures: Iterable[str], rows: Rows, pictures: Pictures) -> bool:
    row = rows.find(job, pixels, figures)
    return row is not None and (not is_kept(job) or pictures.path(job).exists())
