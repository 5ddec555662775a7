"""`mdic bench`: every figure that it promises, on a small bundle; how large they are depends on the machine."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from mdic_ros.codec import Bundle, Decoder, Encoder
from mdic_ros.errors import MdicError
from mdic_ros.evaluation import bench
from mdic_ros.evaluation.bench_process import measure_process
from mdic_ros.evaluation.bench_report import markdown
from mdic_ros.evaluation.install_size import install_sizes
from mdic_ros.evaluation.torch_encoder import TorchEncoder

ENCODE = ["tokens", "entropy", "total"]
DECODE = ["entropy", "caption", "side", "denoise", "pixels", "total"]
SIZES = ((64, 192), (64, 128))


@pytest.fixture(scope="module")
def report(tiny_bundle: Path) -> dict:
    seen: list[tuple[int, int]] = []
    options = bench.Options(sizes=SIZES, steps=(1, 2), frames=3, busy=1)
    found = bench.run(tiny_bundle, options, lambda done, total: seen.append((done, total)))
    assert seen[0][0] == 0 and seen[-1][0] == seen[-1][1] and sorted(seen) == seen
    return json.loads(json.dumps(found))


def test_times_of_every_stage_size_rate_point_and_step(report: dict) -> None:
    rows = report["times"]
    encode = [(row["size"], row["rate_point"]) for row in rows if row["half"] == "encode"]
    assert encode == [(size, point) for size in ("64x128", "64x192") for point in (2, 4)]
    decode = [(row["size"], row["steps"]) for row in rows if row["half"] == "decode"]
    assert decode == [(size, steps) for size in ("64x128", "64x192") for steps in (1, 2)]
    for row in rows:
        stages = ENCODE if row["half"] == "encode" else DECODE
        for name in ("stages", "busy", *(["pytorch"] if row["half"] == "encode" else [])):
            times = row[name]
            assert list(times) == stages
            assert all(0 <= time["median"] <= time["p95"] for time in times.values())
            assert max(time["median"] for stage, time in times.items() if stage != "total") <= times["total"]["p95"]


def test_what_others_take_and_what_was_measured(report: dict) -> None:
    assert {row["codec"] for row in report["others"]} == set(bench.OTHERS)
    assert all(row["total"]["median"] > 0 and row["bytes"] > 0 for row in report["others"])
    assert report["model"]["model_id"] == "tiny_0" and len(report["model"]["fingerprint"]) == 64
    assert report["machine"]["processor"] and report["versions"]["torch"] and report["pictures"] == "sample/street"
    assert report["options"]["threads"] == len(os.sched_getaffinity(0))


def test_each_half_is_measured_alone(report: dict) -> None:
    found = report["processes"]
    assert list(found) == ["encoder", "torch_encoder", "decoder"]
    for half in found.values():
        assert half["first_s"] > 0
        peaks = list(half["peak"].values())
        assert 30 < half["loaded"] <= peaks[0] <= peaks[1] < 2000
    assert found["encoder"]["peak"]["64x192"] < found["torch_encoder"]["loaded"] < found["decoder"]["loaded"]
    assert found["encoder"]["peak"]["64x192"] < 250


def test_the_table_has_it_all(report: dict) -> None:
    text = markdown(report)
    tables = [line for line in text.splitlines() if line.startswith("|")]
    rows = len(report["times"]) + len(report["others"]) + len(report["processes"]) + len(report["install"]) - 1
    assert len(tables) == 5 * 2 + rows
    assert all(line.count("|") == tables[0].count("|") for line in tables[:6])
    for said in ("beside 1 busy loops", "| PyTorch | frames/s |", "| encoder in PyTorch |", "**installed** libraries"):
        assert said in text, said


def test_the_robots_half_alone(tiny_bundle: Path) -> None:
    options = bench.Options(sizes=SIZES[:1], frames=2, encode_only=True)
    found = bench.run(tiny_bundle, options)
    assert list(found["processes"]) == ["encoder"] and not found["others"]
    assert {row["half"] for row in found["times"]} == {"encode"}
    assert all(set(row) == {"half", "size", "rate_point", "stages"} for row in found["times"])
    text = markdown(found)
    assert "**decode**" not in text and "PyTorch" not in text and "busy" not in text


def test_packets_of_the_encoder_in_pytorch_are_the_same_but_for_a_token_here_and_there(tiny_bundle: Path) -> None:
    encoder, other = Encoder.from_pretrained(tiny_bundle), TorchEncoder.from_pretrained(tiny_bundle)
    decoder = Decoder.from_pretrained(tiny_bundle)
    image = bench.stereo_pairs(64, 128)[0][0][0]
    for point in (0, 4):
        one, two = encoder.encode(image, rate_point=point), other.encode(image, rate_point=point)
        assert one[:3] == two[:3]
        grids = zip(decoder.read(one).tokens, decoder.read(two).tokens, strict=True)
        assert np.mean(np.concatenate([(a == b).ravel() for a, b in grids])) >= 0.995


def test_busy_loops_are_busy_and_end() -> None:
    with pytest.raises(KeyboardInterrupt), bench.busy_loops(2) as loops:
        assert [loop.poll() for loop in loops] == [None, None]
        raise KeyboardInterrupt
    assert all(loop.poll() is not None for loop in loops)


def test_without_the_sample_smooth_noise_serves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("mdic_ros.resources.resource", lambda name: tmp_path / name)
    pairs, origin = bench.stereo_pairs(64, 128)
    again, _ = bench.stereo_pairs(64, 128)
    assert origin == "smooth noise" and len(pairs) == bench.PICTURES
    assert all(left.shape == right.shape == (64, 128, 3) for left, right in pairs)
    assert all((one[0] == two[0]).all() for one, two in zip(pairs, again))
    assert not (pairs[0][0] == pairs[0][1]).all()


def test_a_process_that_fails_is_a_sentence(tmp_path: Path) -> None:
    size = (64, 128)
    image = np.zeros((*size, 3), np.uint8)
    with pytest.raises(ChildProcessError, match=r"encoder's memory failed \(exit status 1.* smaller --size"):
        measure_process("encoder", tmp_path / "nothing", "cpu", 0, {size: [(image, image)]}, {size: [b""]})


def test_a_device_that_there_is_not(tiny_bundle: Path) -> None:
    with pytest.raises(MdicError, match="no device 'foo'"):
        bench.run(tiny_bundle, bench.Options(device="foo"))


def test_install_sizes() -> None:
    sizes = install_sizes()
    whole = sum(file.stat().st_size for file in Bundle().path.rglob("*") if file.is_file()) / 1e6
    assert sizes["bundle"]["MB"] == round(whole) and 0 < sizes["bundle"]["robot_MB"] < whole / 3
    assert 100 < sizes["base"]["MB"] < 500 < sizes["workstation"]["MB"] <= sizes["train"]["MB"]
    assert sizes["base"]["packages"] < sizes["workstation"]["packages"]
