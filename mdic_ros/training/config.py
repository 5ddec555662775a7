"""Training YAMLs: sections that are dataclasses, read with errors that say what to write instead."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from mdic_ros.errors import MdicError


class ConfigError(MdicError):
    """A training YAML with an unknown option, a value of the wrong kind, or one that is missing."""


def read_yaml(path: Path, sections: Iterable[str]) -> dict[str, Any]:
    """A YAML file's mapping, whose keys are among `sections`; an empty file is an empty mapping.

    Raises:
        ConfigError: no YAML, no mapping, or a key that is none of them.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no YAML: {error}") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected sections ({', '.join(sections)}), found {content!r}")
    _check_keys(f"{path}", content, sections)
    return content


def as_dataclass(where: str, options: Any, kind: type[Any]) -> Any:
    """A mapping as a dataclass; what it leaves out keeps its default.

    Args:
        where: names the mapping in errors.
        options: of a YAML file; None is an empty one.
        kind: the dataclass. Its __post_init__ may raise ValueError.

    Raises:
        ConfigError: the mapping does not fit.
    """
    options = {} if options is None else options
    if not isinstance(options, Mapping):
        raise ConfigError(f"{where}: expected options, found {options!r}")
    types = typing.get_type_hints(kind)
    _check_keys(where, options, [field.name for field in dataclasses.fields(kind)])
    try:
        return kind(**{k: _convert(f"{where}.{k}", value, types[k]) for k, value in options.items()})
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def _check_keys(where: str, options: Mapping[Any, Any], known: Iterable[str]) -> None:
    known = list(known)
    for key in options:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise ConfigError(f"{where}: unknown option '{key}'; {hint}")


def _convert(where: str, value: Any, kind: Any) -> Any:
    """A value of a YAML file as the type of the dataclass's field: bool, int, float, str, tuples of them, or dict."""
    origin, arguments = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin is tuple:
        if isinstance(value, list | tuple):
            return tuple(_convert(f"{where}[{i}]", item, arguments[0]) for i, item in enumerate(value))
        raise ConfigError(f"{where} is {value!r}, it must be a list")
    if origin is float and isinstance(value, int | str) and not isinstance(value, bool):
        try:  # YAML takes 1e-3 for text, as it has no dot
            return float(value)
        except ValueError:
            pass
    if not isinstance(value, origin) or (isinstance(value, bool) and origin is not bool):
        names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", dict: "a mapping"}
        quote = ", so put it into quotes" if origin is str else ""
        raise ConfigError(f"{where} is {value!r}, it must be {names.get(origin, origin)}{quote}")
    return value
