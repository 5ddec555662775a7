"""How far a model was trained, in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mdic_ros.training.history import FILE, HistoryError, StageRun, describe_history, read_history, write_history

EARLIER = StageRun("codec", 58, None, None, 509, None)
CODEC = StageRun("codec", 40.5, 681, 681 * 8, 509, 11)
AUTOENCODER = StageRun("autoencoder", 12, 500, 500 * 24, 509, 11)


def test_runs_are_kept_and_told(tmp_path: Path) -> None:
    write_history(tmp_path, [AUTOENCODER, EARLIER, CODEC])
    runs = read_history(tmp_path)
    assert runs == [AUTOENCODER, EARLIER, CODEC] and [file.name for file in tmp_path.iterdir()] == [FILE]
    assert describe_history(runs) == [
        "trained: autoencoder 12 min (500 steps), codec 98.5 min (at least 681 steps); last on 509 pairs of 11 drives"
    ]


def test_two_steps_are_hardly_a_training() -> None:
    told = describe_history([AUTOENCODER, StageRun("codec", 0.1, 2, 16, 20, 2)])
    assert len(told) == 2 and told[1].startswith("warning: hardly trained: its codec stage has seen 16 crops")
    assert len(describe_history([StageRun("codec", 0.1, 2, 16, 20, 2)])) == 3  # and no autoencoder at all
    assert len(describe_history([AUTOENCODER, CODEC])) == 1


def test_a_model_without_history_is_said_to_have_none(tmp_path: Path) -> None:
    assert describe_history(read_history(tmp_path)) == ["how far it was trained is not known: it has no training.json"]


@pytest.mark.parametrize(
    "content",
    [
        "{", "3", "[3]", "{}{}", '[{"stage": "codec"}]', "[" * 10_000,
        json.dumps([{**CODEC.__dict__, "minutes": "long"}]), json.dumps([{**CODEC.__dict__, "steps": -1}]),
        json.dumps([{**CODEC.__dict__, "pairs": float("nan")}]), json.dumps([{**CODEC.__dict__, "stage": 3}]),
    ],
)  # fmt: skip
def test_a_damaged_file_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(HistoryError, match=r"training\.json is damaged"):
        read_history(tmp_path)


def test_the_shipped_model_tells_its_own(pytestconfig: pytest.Config) -> None:
    told = describe_history(read_history(pytestconfig.rootpath / "models" / "mdic_tiny"))
    assert len(told) == 1 and "codec 374 min" in told[0] and "509 pairs of 11 drives" in told[0]
