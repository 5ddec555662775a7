from pathlib import Path

import pytest
import yaml

from mdic_ros.nodes import parameters
from mdic_ros.nodes.parameters import DECODER, ENCODER, REPLAY, Parameter, ParameterError, Table

ROOT = Path(__file__).parents[2]
TABLES = [ENCODER, DECODER, REPLAY]


@pytest.mark.parametrize("name", parameters.documents())
def test_generated_files_are_up_to_date(name):
    assert (ROOT / name).read_text(encoding="utf-8") == parameters.documents()[name], (
        "run: python -m mdic_ros.nodes.parameters"
    )


@pytest.mark.parametrize("table", [ENCODER, DECODER], ids=lambda table: table.node)
def test_parameter_files_hold_every_default_with_its_type(table: Table):
    values = yaml.safe_load((ROOT / "config" / f"{table.node}.yaml").read_text())["/**"]["ros__parameters"]
    assert values == {parameter.name: parameter.default for parameter in table.parameters}
    assert [type(value) for value in values.values()] == [parameter.type for parameter in table.parameters]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.node)
def test_tables_are_sound(table: Table):
    names = [parameter.name for parameter in table.parameters]
    assert len(set(names)) == len(names)
    for parameter in table.parameters:
        assert parameter.check(parameter.default) == parameter.default
        assert (parameter.minimum is None) == (parameter.maximum is None)
        assert len(parameter.text) > 10 and parameter.text.endswith(".")
        assert "|" not in parameter.text  # would break the table in the document
        if parameter.type in (int, float):
            assert parameter.minimum is not None, f"{parameter.name} needs a range"


@pytest.mark.parametrize(
    "parameter, good, bad",
    [
        (ENCODER["rate_point"], [-1, 0, 15], [-2, 16, 1.0, "1", True, None]),
        (ENCODER["window_s"], [0.1, 60.0, 2], [0.0, 61.0, float("nan"), float("inf"), "2", True]),
        (ENCODER["coded_height"], [0, 64, 4096], [1, 63, 4097, -64]),
        (ENCODER["transport"], ["raw", "compressed"], ["", "Raw", "theora", 1]),
        (DECODER["caption"], ["", "a street"], [1, None, False]),
        (REPLAY["loop"], [True, False], [0, 1, "true"]),
    ],
)
def test_check(parameter: Parameter, good, bad):
    for value in good:
        assert type(parameter.check(value)) is parameter.type
    for value in bad:
        with pytest.raises(ParameterError) as error:
            parameter.check(value)
        assert parameter.name in str(error.value)
        assert parameter.allowed in str(error.value)  # it says what would be right


def test_allowed_in_words():
    assert ENCODER["rate_point"].allowed == "whole numbers -1 to 15"
    assert ENCODER["coded_width"].allowed == "0 or whole numbers 128 to 4096"
    assert ENCODER["window_s"].allowed == "0.1 to 60"
    assert DECODER["on_missing_side"].allowed == "none | last | skip"
    assert REPLAY["loop"].allowed == "true or false"


def test_writing_the_documents(tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "docs").mkdir()
    parameters.main(str(tmp_path))
    for name, content in parameters.documents().items():
        assert (tmp_path / name).read_text(encoding="utf-8") == content
