"""Training YAMLs: sections that are pydantic models, read with errors that say what to write instead."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from mdic_ros.errors import MdicError

#: A part of a whole, 0 to 1.
Share = Annotated[float, Field(ge=0, le=1)]

#: What a value of the wrong kind must be, by pydantic's names of errors. All other errors have a text of pydantic's.
_KINDS = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "finite_number": "a finite number",
    "float_type": "a number",
    "int_type": "a whole number",
    "model_type": "a mapping of options",
    "string_type": "text, so put it into quotes",
    "tuple_type": "a list",
}


class ConfigError(MdicError):
    """A training YAML with an unknown option or a value that it cannot have, or a stage that does not fit the data."""


class Options(BaseModel):
    """Options of a YAML file or of a section of it. What is left out has its default."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


AnyOptions = TypeVar("AnyOptions", bound=Options)


def read_options(path: Path, kind: type[AnyOptions]) -> AnyOptions:
    """The options in a YAML file. An empty file or section has all defaults.

    Raises:
        ConfigError: the file cannot be read, or holds something else. Each mistake is a line of the message.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no YAML: {error}") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected {', '.join(kind.model_fields)}, found {content!r}")
    try:
        return kind.model_validate({name: value for name, value in content.items() if value is not None})
    except ValidationError as error:
        raise ConfigError("\n".join(_sentence(path, kind, mistake) for mistake in error.errors())) from error


def builds(kind: type[Any], **given: Any) -> AfterValidator:
    """Checks that a mapping holds arguments that a network can be built with.

    Args:
        kind: class of the network.
        given: arguments that it gets beside those of the mapping, and that the mapping must not hold.
    """
    known = [name for name in inspect.signature(kind.__init__).parameters if name not in ("self", *given)]

    def check(options: dict[str, Any]) -> dict[str, Any]:
        for name in options:
            if name not in known:
                raise ValueError(_unknown(name, known))
        try:
            with torch.device("meta"):  # without memory for its weights
                kind(**given, **options)
        except Exception as error:  # of whatever kind the network's constructor meets with such arguments
            raise ValueError(f"{kind.__name__} cannot be built of it: {error or type(error).__name__}") from error
        return options

    return AfterValidator(check)


class _Loader(yaml.SafeLoader):
    """YAML with tuples as lists, and with 1e-3 as a number: without a dot PyYAML takes it for text."""


_Loader.add_constructor("tag:yaml.org,2002:seq", lambda loader, node: tuple(loader.construct_sequence(node, deep=True)))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+\Z"), "-+0123456789"
)


def _sentence(path: Path, kind: type[Options], mistake: Mapping[str, Any]) -> str:
    """One mistake in words: file, section, key, value, and what it must be."""
    *section, key = mistake["loc"] or ("",)
    if mistake["type"] in ("extra_forbidden", "invalid_key"):
        return f"{_where(path, section)}: {_unknown(key, _names(kind, section))}"
    if mistake["type"] == "value_error":  # a validator of ours, which says it all
        return f"{_where(path, mistake['loc'])}: {mistake['ctx']['error']}"
    if mistake["type"] == "missing":  # of a list: an option may be left out, an entry may not
        key, allowed = section.pop(), "it has too few entries"
    elif mistake["type"] in _KINDS:
        allowed = f"it must be {_KINDS[mistake['type']]}"
    else:
        allowed = mistake["msg"].replace("Input should", "it must").replace("Tuple should", "it must")
    value = list(mistake["input"]) if isinstance(mistake["input"], tuple) else mistake["input"]
    # An index belongs to the key before it: size[1].
    while isinstance(key, int) and section:
        key = f"{section.pop()}[{key}]"
    return f"{_where(path, section)}: {key} is {value!r}, {allowed}"


def _where(path: Path, section: Iterable[str | int]) -> str:
    return ", ".join([str(path), *map(str, section)])


def _names(kind: type[Options], section: Iterable[str | int]) -> list[str]:
    """Names of the options in a section."""
    for name in section:
        inner = kind.model_fields[str(name)].annotation
        assert isinstance(inner, type)
        kind = inner
    return list(kind.model_fields)


def _unknown(name: Any, known: list[str]) -> str:
    near = difflib.get_close_matches(str(name), known, 1)
    return f"unknown option '{name}'; " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}")
