"""`mdic bench`: every figure that it promises, on a small bundle; how large they are depends on the machine."""

import json
from pathlib import Path

import pytest

from mdic_ros import cli
from mdic_ros.evaluation import bench

ENCODE = ["autoencoder", "features", "tokens", "entropy", "total"]
DECODE = ["entropy", "caption", "side", "denoise", "pixels", "total"]
TASKS = [("encode", None), ("decode", 1), ("decode", 2)]


@pytest.fixture(scope="module")
def output(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench") / "bench.json"


@pytest.fixture(scope="module")
def printed(tiny_bundle: Path, output: Path) -> str:
    """One call of the command: what it prints, with its JSON in `output`."""
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr(cli.typer, "echo", lines.append)
        sizes = ["--size", "64x192", "--size", "64x128", "--steps", "2,1", "--frames", "3"]
        arguments = ["bench", "--model", str(tiny_bundle), *sizes, "--output", str(output)]
        patch.setattr(cli.sys, "argv", ["mdic", *arguments])  # the report says which command made it
        with pytest.raises(SystemExit) as stopped:
            cli.main(arguments)
        assert stopped.value.code == 0
    return "\n".join(lines)


def test_times_of_every_stage_size_and_step(printed: str, output: Path) -> None:
    report = json.loads(output.read_text())
    rows = report["times"]
    expected = [(size, half, steps) for size in ("64x128", "64x192") for half, steps in TASKS]
    assert [(row["size"], row["half"], row["steps"]) for row in rows] == expected
    for row in rows:
        stages = row["stages"]
        assert list(stages) == (ENCODE if row["half"] == "encode" else DECODE)
        assert all(0 <= time["median"] <= time["p95"] for time in stages.values())
        assert max(time["median"] for name, time in stages.items() if name != "total") <= stages["total"]["p95"]


def test_what_others_take_and_what_was_measured(printed: str, output: Path) -> None:
    report = json.loads(output.read_text())
    assert {row["codec"] for row in report["others"]} == set(bench.OTHERS)
    assert all(row["total"]["median"] > 0 and row["bytes"] > 0 for row in report["others"])
    assert report["model"]["model_id"] == "tiny_0" and len(report["model"]["fingerprint"]) == 64
    assert report["machine"]["processor"] and report["versions"]["torch"] and report["pictures"] == "sample/street"
    assert report["command"].startswith("mdic bench --model ")


def test_memory_is_that_of_either_half_alone(printed: str, output: Path) -> None:
    memory = json.loads(output.read_text())["memory"]
    for half in ("encoder", "decoder"):
        peaks = list(memory[half]["peak"].values())
        assert 100 < memory[half]["loaded"] <= peaks[0] <= peaks[1] < 2000
    assert memory["encoder"]["loaded"] < memory["decoder"]["loaded"]


def test_the_table_has_it_all(printed: str, output: Path) -> None:
    report = json.loads(output.read_text())
    tables = [line for line in printed.splitlines() if line.startswith("|")]
    assert len(tables) == 4 * 2 + len(report["times"]) + len(report["others"]) + 2
    assert f"| encoder | {report['memory']['encoder']['loaded']} |" in printed


def test_without_the_sample_smooth_noise_serves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("mdic_ros.resources.resource", lambda name: tmp_path / name)
    pairs, origin = bench.stereo_pairs(64, 128)
    again, _ = bench.stereo_pairs(64, 128)
    assert origin == "smooth noise" and len(pairs) == bench.PICTURES
    assert all(left.shape == right.shape == (64, 128, 3) for left, right in pairs)
    assert all((one[0] == two[0]).all() for one, two in zip(pairs, again))
    assert not (pairs[0][0] == pairs[0][1]).all()


def test_a_process_that_fails_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    size = (64, 128)
    pairs, _ = bench.stereo_pairs(*size)
    with pytest.raises(ChildProcessError, match=r"encoder's memory failed \(exit status 1.* smaller --size"):
        bench._memory("encoder", tmp_path / "nothing", bench.Options(), [size], {size: pairs}, {size: [b""]})


@pytest.mark.parametrize(
    "wrong", [["--size", "128"], ["--steps", "0"], ["--frames", "0"], ["--device", "foo"], ["--device", "cuda:99"]]
)
def test_options_that_make_no_sense(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["bench", *wrong])
    assert stopped.value.code == 2
