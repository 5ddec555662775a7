"""Contact sheets: pictures of this codec beside those of conventional codecs at about the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mdic_ros.evaluation.anchors import Anchor, Coded, closest
from mdic_ros.evaluation.contact_sheet import Tile, contact_sheet, spread
from mdic_ros.evaluation.evaluate import Pair, Progress, name_of
from mdic_ros.evaluation.metrics import Image, psnr
from mdic_ros.evaluation.results import Job, Pictures, Rows
from mdic_ros.evaluation.tables import plural
from mdic_ros.evaluation.variants import FULL

#: An anchor's picture is shown if it has at most this many times the bytes of this codec's.
_ALIKE = 1.25


@dataclass(frozen=True)
class Sheet:
    """One image: the pair, and for some rate points the pictures of this codec and of the anchors."""

    image: str  #: "drive/frame"
    pair: list[Tile]  #: original, side image
    rows: list[list[Tile]]  #: for each rate point: tiles of this codec and of the anchors; a tile may have no picture

    def drawn(self) -> Image:
        """The sheet as one picture, H x W x 3 uint8: the pair, and a row for each rate point."""
        original = self.pair[0].image
        assert original is not None
        height, width = original.shape[:2]
        return contact_sheet([[self.pair, *self.rows]], (height, width), [f"{self.image}, {height}x{width}"])


def choose(pairs: Sequence[Pair], wanted: int) -> list[Pair]:
    """Up to `wanted` pairs, spread evenly over the drives and within each."""
    drives: dict[str, list[Pair]] = {}
    for pair in pairs:
        drives.setdefault(pair.drive, []).append(pair)
    chosen = [list(drives.values())[n] for n in spread(len(drives), wanted)]
    share, more = divmod(wanted, len(chosen))
    return [drive[i] for n, drive in enumerate(chosen) for i in spread(len(drive), share + (n < more))]


def make_sheets(
    pairs: Sequence[Pair],
    model_id: str,
    rate_points: int,
    steps: Sequence[int],
    rows: Rows,
    pictures: Pictures,
    anchors: Sequence[Anchor],
    wanted: int = 4,
    progress: Progress = lambda done, total: None,
) -> list[Sheet]:
    """Sheets of up to `wanted` images, with three rate points and the fewest and the most of `steps` each.

    Args:
        pairs: the pairs that were measured.
        model_id: name of the model, for the labels.
        rate_points: how many it has.
        rows: rows of this codec, for the bytes.
        pictures: pictures of this codec.
        anchors: conventional codecs, each shown at the setting that is closest in bytes, if it is close enough.
        progress: called with the number of pictures done and the total.
    """
    sheets = []
    chosen, points = choose(pairs, wanted), spread(rate_points, 3)
    done, total = 0, len(chosen) * len(points) * (1 + len(anchors))
    for pair in chosen:
        original, side = pair.coded, pair.side
        others = [_remembering(anchor) for anchor in anchors]
        lines: list[list[Tile]] = []
        for point in points:
            line = []
            for count in sorted({min(steps), max(steps)}):
                job = Job(name_of(pair), FULL.name, str(point), count)
                (row,) = rows.select([job])
                line.append(_tile(f"{model_id}, {plural(count, 'step')}", pictures.load(job), row.bytes, original))
            for anchor in others:
                if tile := _beside(anchor, original, side, row.bytes):
                    line.append(tile)
                done += 1
                progress(done, total)
            lines.append(line)
            done += 1
            progress(done, total)
        known = Tile(side, f"side image: 0 bytes, {psnr(side, original):.1f} dB")
        sheets.append(Sheet(name_of(pair), [Tile(original, "original"), known], lines))
    return sheets


def _remembering(anchor: Anchor) -> Anchor:
    """The anchor with a cache for one pair of views, since coding takes up to a minute at full size."""
    known: dict[int, Coded] = {}

    def code(left: Image, right: Image, setting: int) -> Coded:
        if setting not in known:
            known[setting] = anchor.code(left, right, setting)
        return known[setting]

    return replace(anchor, code=code)


def _beside(anchor: Anchor, left: Image, right: Image, count: int) -> Tile | None:
    """An anchor's picture of about `count` bytes, or of its fewest bytes; None for an anchor that sends nothing."""
    fewest = anchor.code(left, right, anchor.settings[0])
    if fewest.bytes == 0:
        return None
    if fewest.bytes > _ALIKE * count:
        return Tile(None, f"{anchor.name}: fewest: {fewest.bytes} bytes")
    coded = closest(anchor, left, right, count)
    coded = coded if coded.bytes <= _ALIKE * count else fewest
    return _tile(anchor.name, coded.image, coded.bytes, left)


def _tile(name: str, image: Image, count: int, original: Image) -> Tile:
    return Tile(image, f"{name}: {count} bytes, {psnr(image, original):.1f} dB")
