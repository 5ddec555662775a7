"""Rows in their files: kept, found again, refused."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mdic_ros.evaluation.results import (
    Job,
    Lazy,
    Pictures,
    ResumeError,
    Row,
    Rows,
    Spool,
    group,
    summarise,
    unique_slug,
)

JOB = Job("drive/0", "full", "2", 1)


def row(job: Job = JOB, size: int = 100, **figures: float) -> Row:
    return Row(job, "pixels", size, size / 4096, figures or {"PSNR": 20.0})


def test_rows_come_back(tmp_path: Path) -> None:
    Rows(tmp_path, "abc", "kitti").add(row())
    Rows(tmp_path, "abc", "kitti", process=1).add(row(JOB._replace(setting="3")))
    again = Rows(tmp_path, "abc", "kitti")
    assert again.find(JOB, "pixels", ["PSNR"]) == row()
    assert again.select([JOB._replace(setting="3")]) == [row(JOB._replace(setting="3"))]
    assert {path.name for path in tmp_path.iterdir()} == {"rows.jsonl", "rows-1.jsonl"}


def test_a_row_without_a_figure_that_is_asked_for_is_not_done(tmp_path: Path) -> None:
    rows = Rows(tmp_path, "abc", "kitti")
    rows.add(row())
    assert rows.find(JOB, "pixels", ["PSNR", "LPIPS"]) is None
    rows.add(row(PSNR=20.0, LPIPS=0.3))
    assert Rows(tmp_path, "abc", "kitti").find(JOB, "pixels", ["PSNR", "LPIPS"]) is not None


@pytest.mark.parametrize(("fingerprint", "protocol"), [("xyz", "kitti"), ("abc", "native")])
def test_rows_of_something_else_are_refused(tmp_path: Path, fingerprint: str, protocol: str) -> None:
    Rows(tmp_path, "abc", "kitti").add(row())
    with pytest.raises(ResumeError, match=r"holds figures of bundle abc in protocol kitti, not of .* --output"):
        Rows(tmp_path, fingerprint, protocol)


def test_lazy_images_are_read_when_they_are_looked_at() -> None:
    read: list[int] = []

    def reader(number: int) -> Callable[[], np.ndarray]:
        return lambda: read.append(number) or np.full((2, 2, 3), number, np.uint8)

    images = Lazy([reader(n) for n in range(4)])
    assert len(images) == 4 and read == []
    assert images[2][0, 0, 0] == 2 and [int(i[0, 0, 0]) for i in images[1:3]] == [1, 2]
    assert [int(i[0, 0, 0]) for i in images] == [0, 1, 2, 3] and read == [2, 1, 2, 0, 1, 2, 3]


def test_rows_of_other_versions_are_refused(tmp_path: Path) -> None:
    Rows(tmp_path, "abc", "kitti", maker="torch 2.1, cpu").add(row())
    assert Rows(tmp_path, "abc", "kitti", maker="torch 2.1, cpu").select([JOB]) == [row()]
    with pytest.raises(ResumeError, match=r"other code or libraries, or of another kind of device.* --output"):
        Rows(tmp_path, "abc", "kitti", maker="torch 2.1, cuda")


def test_rows_of_other_pixels_are_refused(tmp_path: Path) -> None:
    rows = Rows(tmp_path, "abc", "kitti")
    rows.add(row())
    with pytest.raises(ResumeError, match="another image named drive/0"):
        rows.find(JOB, "others", ["PSNR"])


def test_a_write_that_was_cut_is_forgotten(tmp_path: Path) -> None:
    Rows(tmp_path, "abc", "kitti").add(row())
    file = tmp_path / "rows.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:50])
    rows = Rows(tmp_path, "abc", "kitti")
    assert file.read_bytes() == whole
    rows.add(row(JOB._replace(setting="3")))
    assert len(Rows(tmp_path, "abc", "kitti").select([JOB, JOB._replace(setting="3")])) == 2


def test_damage_is_named(tmp_path: Path) -> None:
    whole = row(PSNR=20.0)
    Rows(tmp_path, "abc", "kitti").add(whole)
    (line,) = (tmp_path / "rows.jsonl").read_text().splitlines()
    for damaged in (
        '{"fingerprint": "abc"}',
        "3",
        "null",
        '"a"',
        line.replace("20.0", '"good"'),
        line.replace('{"PSNR": 20.0}', "null"),
        line.replace('"bytes": ', '"bytes": "x", "more": '),
    ):
        assert damaged != line
        (tmp_path / "rows.jsonl").write_text(f"{line}\n{damaged}\n")
        with pytest.raises(ResumeError, match=r"rows.jsonl, line 2 is damaged"):
            Rows(tmp_path, "abc", "kitti")
    (tmp_path / "rows.jsonl").write_bytes(b"\xff\xfe\n")
    with pytest.raises(ResumeError, match=r"rows.jsonl is damaged"):
        Rows(tmp_path, "abc", "kitti")


def test_summary() -> None:
    one, two = row(size=100, **{"PSNR": 20.0, "MS-SSIM": 0.85}), row(size=120, **{"PSNR": 22.0, "MS-SSIM": 0.95})
    summary = summarise([one, two], ["PSNR", "MS-SSIM"])
    assert (summary["bytes"], summary["max_bytes"], summary["images"]) == (110, 120, 2)
    assert summary["figures"]["PSNR"] == 21
    assert summary["figures"]["MS-SSIM dB"] == pytest.approx(10)  # of the mean, 0.9
    assert list(group([one, row(JOB._replace(setting="3")), two])) == [("full", "2", 1), ("full", "3", 1)]


def test_a_summary_has_what_is_asked_for_and_forgets_what_is_no_number() -> None:
    rows = [row(PSNR=20.0, LPIPS=0.3), row(PSNR=24.0), row(PSNR=math.nan), row(PSNR=math.inf)]
    assert summarise(rows, ["PSNR"])["figures"] == {"PSNR": 22}
    assert summarise(rows[3:], ["PSNR"])["figures"] == {"PSNR": math.inf}


def test_names_that_look_alike_do_not_meet(tmp_path: Path) -> None:
    assert unique_slug("run_1") == "run_1" and unique_slug("run.1") != unique_slug("run 1")
    places = {Pictures(tmp_path).path(JOB._replace(image=f"{drive}/0")) for drive in ("run.1", "run_1", "run 1")}
    assert len(places) == 3


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    pictures = Pictures(tmp_path)
    pictures.save(JOB, np.zeros((64, 64, 3), np.uint8))
    pictures.path(JOB).write_bytes(b"no picture")
    with pytest.raises(ResumeError, match=r"Delete .*\.png: the same command makes it again"):
        pictures.load(JOB)


def test_pictures_and_spool_hold_pixels(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 16, 3), np.uint8)
    pictures = Pictures(tmp_path)
    pictures.save(JOB, image)
    pictures.save(JOB._replace(steps=4), 255 - image)
    assert (pictures.load(JOB) == image).all() and (pictures.load(JOB._replace(steps=4)) == 255 - image).all()
    assert pictures.path(JOB).is_relative_to(tmp_path / "full")
    assert not list(tmp_path.rglob("*.part"))
    spool = Spool(tmp_path)
    kept = spool.keep(image)
    assert (np.load(kept) == image).all()
    assert spool.keep(image.copy()) == kept != spool.keep(255 - image)
