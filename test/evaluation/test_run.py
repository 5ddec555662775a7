"""Whole evaluations: what a report holds, and that an interrupted run goes on."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mdic_ros.codec import Bundle
from mdic_ros.datasets import DatasetError
from mdic_ros.evaluation.errors import EvaluationError
from mdic_ros.evaluation.results import ResumeError
from mdic_ros.evaluation.run import Evaluation, Options, run

Evaluated = tuple[Evaluation, Path, Options]


@contextmanager
def silent(_: str) -> Iterator[Callable[[int, int], None]]:
    yield lambda done, total: None


def test_the_report_says_what_it_takes_to_repeat_it(evaluated: Evaluated, tiny_bundle: Path, street: Path) -> None:
    report = evaluated[0].report
    assert report["bundle"]["fingerprint"] == Bundle(tiny_bundle).fingerprint
    assert (report["data"], report["protocol"], report["sizes"]) == (str(street), "native", ["128x256"])
    assert (report["images"], report["drives"], report["steps"]) == (3, {"a": 2, "b": 1}, [1, 2])
    assert report["provenance"]["command"] == "mdic eval ..." and report["provenance"]["machine"]["processes"] == 1
    assert {"mdic_ros", "python", "torch", "onnxruntime", "scipy", "pillow's avif"} <= report["provenance"][
        "versions"
    ].keys()
    assert "LPIPS (VGG16)" in {entry["name"] for entry in report["not_computed"]}
    lines = evaluated[1].joinpath("rows.jsonl").read_text().splitlines()
    assert len(report["rows"]) == len(lines) == 3 * (2 * 5 + 10 * 5 + 1 + 6 + 6) + 5


def test_results_have_every_figure(evaluated: Evaluated) -> None:
    report = evaluated[0].report
    assert [(r["steps"], r["setting"]) for r in report["results"]] == [(n, str(p)) for n in (1, 2) for p in range(5)]
    names = {metric["name"] for metric in report["metrics"]}
    assert {"PSNR", "MS-SSIM dB", "SWD x 1000"} <= names
    for result in report["results"] + [r for anchor in report["anchors"] for r in anchor["results"]]:
        assert result["figures"].keys() == names and result["images"] == 3
    mine = [r for r in report["rows"] if (r["method"], r["setting"], r["steps"]) == ("full", "3", 1)]
    third = report["results"][3]
    assert third["bytes"] == sum(r["bytes"] for r in mine) / 3 and third["max_bytes"] == max(r["bytes"] for r in mine)
    assert third["figures"]["PSNR"] == pytest.approx(sum(r["figures"]["PSNR"] for r in mine) / 3)


def test_ablations_are_compared_on_the_same_images(evaluated: Evaluated) -> None:
    report = evaluated[0].report
    found = {ablation["name"]: ablation for ablation in report["ablations"]}
    rows = {(r["image"], r["method"], r["setting"], r["steps"]): r["figures"]["PSNR"] for r in report["rows"]}
    stale = found["side image 1 frame old"]["results"][2]
    gap = rows["a/1", "side image 1 frame old", "2", 1] - rows["a/1", "no side image", "2", 1]
    assert found["side image 1 frame old"]["against"] == "no side image"
    assert stale["images"] == 1 and stale["difference"]["PSNR"] == pytest.approx(gap)
    opened = found["open mask, foreign side image"]
    assert opened["against"] == "foreign side image"
    gap = opened["results"][1]["figures"]["PSNR"] - found["foreign side image"]["results"][1]["figures"]["PSNR"]
    assert opened["results"][1]["difference"]["PSNR"] == pytest.approx(gap)
    missing = [entry["name"] for entry in report["not_available"]]
    assert missing == ["side image 5 frames old", "side image 10 frames old"]


def test_deltas_against_anchors_that_send_something(evaluated: Evaluated) -> None:
    deltas = evaluated[0].report["bd"]
    assert {(d["anchor"], d["metric"]) for d in deltas} == {
        (anchor, metric) for anchor in ("JPEG", "x265 intra") for metric in ("PSNR", "MS-SSIM dB")
    }
    assert all(d["steps"] == 1 and d["rate_overlap"] for d in deltas)


def test_sheets_show_images_of_all_drives_at_nearest_bytes(evaluated: Evaluated) -> None:
    sheets, model = evaluated[0].sheets, evaluated[0].report["bundle"]["model_id"]
    assert {sheet.image for sheet in sheets} == {"a/0", "a/1", "b/0"}
    for sheet in sheets:
        assert [tile.label.split(":")[0] for tile in sheet.pair] == ["original", "side image"]
        last = [tile.label for tile in sheet.rows[-1]]
        assert [label.split(":")[0] for label in last] == [
            f"{model}, 1 step",
            f"{model}, 2 steps",
            "JPEG",
            "x265 intra",
        ]
        for ours, *others in ([tile for tile in row if "2 steps" not in tile.label] for row in sheet.rows):
            (count,) = map(int, re.findall(r": (\d+) bytes, \d+\.\d dB$", ours.label))
            for tile in others:
                pattern = r": fewest: (\d+) bytes$" if tile.image is None else r": (\d+) bytes, \d+\.\d dB$"
                (theirs,) = map(int, re.findall(pattern, tile.label))
                assert (theirs <= 1.25 * count) == (tile.image is not None)
        drawn, first = sheet.drawn(), sheet.pair[0].image
        assert first is not None
        height, width = first.shape[:2]
        assert drawn.shape[1] > 4 * width  # the most in a row
        line = first[height // 2].tobytes()
        assert sum(row.tobytes().count(line) for row in drawn) == 1  # the original is there once


def test_an_interrupted_run_goes_on(street: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    options = Options("native", (1,), limit=1, ablations=False, anchors=False)

    def stage_of(stop: int) -> Callable:
        @contextmanager
        def stage(title: str) -> Iterator[Callable[[int, int], None]]:
            def progress(done: int, total: int | None) -> None:
                seen.append((title, done, total))
                if done == stop:
                    raise KeyboardInterrupt

            yield progress

        return stage

    seen: list[tuple[str, int, int | None]] = []
    with pytest.raises(KeyboardInterrupt):
        run(street, tiny_bundle, options, tmp_path / "out", "", stage_of(3))
    file = tmp_path / "out" / "rows.jsonl"
    first = file.read_text()
    assert first.count("\n") == 3
    shutil.rmtree(tmp_path / "out" / "pictures" / "full" / "1_1_steps" / "a")  # a lost picture is made again
    seen.clear()
    evaluation = run(street, tiny_bundle, options, tmp_path / "out", "", stage_of(-1))
    assert seen[:3] == [("reading", 1, None), ("reading", 2, None), ("coding and measuring", 0, 10)]
    assert evaluation is not None and len(evaluation.report["rows"]) == 10
    again = file.read_text()
    assert again.startswith(first)
    assert len({json.dumps(json.loads(line)["job"]) for line in again.splitlines()}) == 10
    assert again.count("\n") == 10 + 1
    fresh = run(street, tiny_bundle, options, None, "", silent)
    assert fresh is not None and fresh.report["rows"] == evaluation.report["rows"]
    assert fresh.report["results"] == evaluation.report["results"]


def test_fewer_figures_than_before_and_versions_that_changed(
    street: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options("native", (1,), limit=1, ablations=False, anchors=False)
    assert run(street, tiny_bundle, options, tmp_path, "", silent) is not None
    file = tmp_path / "rows.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines[:3]:  # as a run with --weights leaves it when it is stopped
        line["figures"]["LPIPS (VGG16)"] = 0.3
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    again = run(street, tiny_bundle, options, tmp_path, "", silent)
    assert again is not None and file.read_text().count("\n") == 10
    assert all("LPIPS (VGG16)" not in result["figures"] for result in again.report["results"])
    monkeypatch.setattr("mdic_ros.evaluation.provenance.__version__", "0.0.0")
    with pytest.raises(ResumeError, match="other code or libraries"):
        run(street, tiny_bundle, options, tmp_path, "", silent)


def test_another_bundle_protocol_or_data_is_refused(
    evaluated: Evaluated, street: Path, other_bundle: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    _, folder, options = evaluated
    with pytest.raises(ResumeError, match="--output"):
        run(street, other_bundle, options, folder, "", silent)
    with pytest.raises(ResumeError, match=r"protocol native, not of .* in cityscapes"):
        run(street, tiny_bundle, Options("cityscapes"), folder, "", silent)
    shutil.copytree(street / "b", tmp_path / "data" / "a")
    with pytest.raises(ResumeError, match="another image named a/0"):
        run(tmp_path / "data", tiny_bundle, options, folder, "", silent)


def test_what_makes_no_sense_is_said_at_once(street: Path, tiny_bundle: Path) -> None:
    with pytest.raises(EvaluationError, match="no protocol 'nonsense'"):
        run(street, tiny_bundle, Options("nonsense"), None, "", silent)
    with pytest.raises(DatasetError, match="nothing: no such file or folder"):
        run(street / "nothing", tiny_bundle, Options("native"), None, "", silent)
