"""What is made of each image: whole streams, decoded from their bytes, by every variant."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mdic_ros.codec import Decoder, Encoder, SideView
from mdic_ros.evaluation.ablations import without
from mdic_ros.evaluation.errors import EvaluationError
from mdic_ros.evaluation.evaluate import CommonRows, Pair, load_pairs, make, measure, name_of, plan
from mdic_ros.evaluation.metrics import IMAGE_METRICS, psnr
from mdic_ros.evaluation.results import Job, Pictures, Rows, Spool
from mdic_ros.evaluation.variants import ABLATIONS


@pytest.fixture(scope="module")
def pairs(street: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    return load_pairs(street, "native", None, False, Spool(tmp_path_factory.mktemp("spool")))


@pytest.fixture(scope="module")
def codec(tiny_bundle: Path) -> tuple[Encoder, Decoder]:
    return Encoder.from_pretrained(tiny_bundle), Decoder.from_pretrained(tiny_bundle)


def test_the_plan_has_every_variant_that_the_data_allows(pairs: list[Pair]) -> None:
    jobs = plan(pairs, 5, (2, 1), True, ())
    assert list(jobs) == ["a/0", "a/1", "b/0"]
    names = [variant.name for variant in ABLATIONS]
    later = {"side image 5 frames old", "side image 10 frames old"}
    assert {job.method for job in jobs["a/1"]} == {"full", *names} - later
    assert {job.method for job in jobs["a/0"]} == {"full", *names} - later - {"side image 1 frame old"}
    assert {(job.steps, job.setting) for job in jobs["a/0"] if job.method == "full"} == {
        (steps, str(point)) for steps in (1, 2) for point in range(5)
    }
    for job in jobs["a/0"]:
        if job.method != "full":
            assert job.steps == 1
            assert job.other.startswith("b/") == ("foreign" in job.method)


def test_pairs_lie_on_disk_once_and_hold_no_file_open(street: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    pairs = load_pairs(street, "native", None, True, Spool(tmp_path), lambda *now: seen.append(now))
    looked_at = [(pair.coded, pair.side) for pair in pairs]
    assert seen == [(n, None) for n in range(1, 7)]
    if before:
        assert len(os.listdir("/proc/self/fd")) == before
    assert (looked_at[0][0] == looked_at[1][1]).all()  # in the other order
    assert len(list(tmp_path.iterdir())) == 6  # of three pairs in both orders, one with an older side image
    assert (pairs[2].stale(1) == pairs[0].side).all()


def test_one_drive_has_no_other_scene(pairs: list[Pair]) -> None:
    jobs = plan(pairs[:2], 5, (1,), True, ())
    assert not any("foreign" in job.method for mine in jobs.values() for job in mine)
    assert plan(pairs[:2], 5, (1,), False, ())["a/0"] == [Job("a/0", "full", str(point), 1) for point in range(5)]


def test_variants_do_what_they_say(pairs: list[Pair], codec: tuple[Encoder, Decoder]) -> None:
    encoder, decoder = codec
    pair, by_name = pairs[1], {name_of(pair): pair for pair in pairs}
    stream = encoder.encode_all(pair.coded)[2]
    jobs = [job for job in plan(pairs, 5, (1,), True, ())["a/1"] if job.setting == "2"]
    common = CommonRows(pairs, encoder, decoder)
    made = {job.method: image for job, size, image in make(pair, jobs, by_name, encoder, decoder, {}, common)}
    other = by_name[next(job.other for job in jobs if job.other)].side
    own, foreign, old = pair.side, other, pairs[0].side

    def decoded(side: np.ndarray | None, caption: str, *blocks: str, rows: float = 0.0) -> np.ndarray:
        with without(decoder.mdic, *blocks):
            return decoder.decode(stream, [] if side is None else [SideView(side, rows)], caption=caption).image

    lower = np.concatenate([own[:1], own[:1], own[:-2]])
    rows = common(pair, 2, 2)
    text, foreign_text = decoder.caption(own), decoder.caption(foreign)
    expected = {
        "full": decoded(own, text),
        "no side image": decoded(None, ""),
        "foreign side image": decoded(foreign, foreign_text),
        "no text": decoded(own, ""),
        "foreign text": decoded(own, foreign_text),
        "without G1": decoded(own, text, "g1"),
        "without G2": decoded(own, text, "g2"),
        "open mask": decoded(own, text, "mask"),
        "side image 2 pixels lower": decoded(lower, text),
        "side image 2 pixels lower, corrected": decoded(lower, text, rows=rows),
        "open mask, foreign side image": decoded(foreign, foreign_text, "mask"),
        "side image 1 frame old": decoded(old, decoder.caption(old)),
    }
    assert made.keys() == expected.keys()
    for name, image in expected.items():
        assert (made[name] == image).all(), name


def test_rows_are_whole_streams_and_shares_are_disjoint(
    pairs: list[Pair], codec: tuple[Encoder, Decoder], tmp_path: Path
) -> None:
    encoder, decoder = codec
    jobs = plan(pairs, encoder.rate_points, (1,), False, ())
    for process in (0, 1):
        rows, seen = Rows(tmp_path, "abc", "native", process), []
        measure(
            pairs,
            jobs,
            encoder=encoder,
            decoder=decoder,
            anchors=(),
            metrics=IMAGE_METRICS,
            rows=rows,
            pictures=Pictures(tmp_path / "pictures"),
            share=(process, 2),
            progress=lambda done, total, seen=seen: seen.append((done, total)),
        )
        total = (10, 5)[process]
        assert seen[-1] == (total, total) and len(set(seen)) == total + 1
    assert (tmp_path / "rows-1.jsonl").read_text().count("\n") == 5
    rows.read_all()
    found = rows.select(job for mine in jobs.values() for job in mine)
    streams = encoder.encode_all(pairs[2].coded)
    for row in found[10:15]:
        point = int(row.job.setting)
        assert row.job.image == "b/0" and row.bytes == len(streams[point])
        assert row.bpp == 8 * row.bytes / (128 * 256)
        picture = decoder.decode(streams[point], [SideView(pairs[2].side)]).image
        assert row.figures["PSNR"] == psnr(picture, pairs[2].coded)
        assert (Pictures(tmp_path / "pictures").load(row.job) == picture).all()


def test_pictures_that_are_too_small_are_refused(tmp_path: Path) -> None:
    for side in ("left", "right"):
        (tmp_path / side).mkdir()
        Image.fromarray(np.zeros((80, 160, 3), np.uint8)).save(tmp_path / side / "0.png")
    with pytest.raises(EvaluationError, match="80x160 pixels; MS-SSIM takes"):
        load_pairs(tmp_path, "native", None, False, Spool(tmp_path))
