"""Everything that is wrong in a configuration, found twice: by the JSON Schema and by the reader with its rules.

The schema, schema/config.json, says the same as the tables of read.py in a form that other programs can use; loading
and applying it takes ten times as long as creating a container, so only `ocirun validate` and the tests do.
"""

from __future__ import annotations

from .. import __path__ as _places
from ..errors import ConfigError, Error, Problem
from . import read
from .json import parse
from .pointer import child
from .rules.check import check
from .warnings import warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


def validate(path: str, data: bytes) -> list[Problem]:
    """Check a whole configuration. Returns the warnings; ``path`` is only for the messages.

    :raises ConfigError: with every problem, in the order of the document, one for each place and cause
    """
    tree = parse(path, data)
    problems: list[Problem] = []
    spec = read.read_tree(tree, problems)
    places = {problem.pointer for problem in problems}
    validator = schema_validator()
    problems += [p for p in schema_problems(tree, validator) if p.pointer not in places]
    problems += check(spec, problems)
    if problems:
        raise ConfigError(path, read.in_order(tree, problems))
    return list(read.in_order(tree, [*warnings(spec), *unknown_properties(tree, validator.schema)]))


def schema_problems(tree: Any, validator: Any) -> list[Problem]:
    """What a JSON Schema refuses, one problem for each place."""
    problems: dict[str, Problem] = {}
    for error in validator.iter_errors(tree):
        for pointer in pointers(error):
            problems.setdefault(pointer, Problem(pointer=pointer, expected=_sentence(error)))
    return list(problems.values())


# Sections of config.json that are for other platforms.
_PLATFORMS = ("windows", "solaris", "vm", "zos", "freebsd")


def unknown_properties(tree: Any, schema: Any) -> Iterator[Problem]:
    """Properties that a runtime has to ignore (config.md, "Extensibility"): misspelt, or of another version."""
    yield from _unknown(tree, schema, schema["$defs"], "")


def _unknown(value: Any, schema: Any, definitions: Any, pointer: str) -> Iterator[Problem]:
    while "$ref" in schema:
        schema = definitions[schema["$ref"].removeprefix("#/$defs/")]
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown(item, schema.get("items", {}), definitions, f"{pointer}/{index}")
    elif isinstance(value, dict):
        known = schema.get("properties", {})
        others = schema.get("additionalProperties", {})
        by_lower = {name.lower(): name for name in known}
        for key, item in value.items():
            place = child(pointer, key)
            if key in known or others:
                yield from _unknown(item, known.get(key, others), definitions, place)
            elif known and not (pointer == "" and key in _PLATFORMS):
                meant = by_lower.get(key.lower())
                expected = "ignoring an unknown property" + (f"; is {meant} meant?" if meant else "")
                yield Problem(pointer=place, expected=expected)


def schema_validator() -> Any:
    """The validator of the package jsonschema for our schema.

    :raises Error: the package is missing
    """
    # 60 ms, and only needed here.
    try:
        from jsonschema import Draft202012Validator
        from jsonschema.validators import extend
    except ImportError as reason:
        raise Error(f"the Python package jsonschema is needed: {reason}") from None
    import json

    with open(f"{_places[0]}/spec/schema/config.json", encoding="utf-8") as file:
        schema = json.load(file)
    # 1.0 is an integer for JSON Schema, but not for Go's decoder and so for no engine.
    checker = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    return extend(Draft202012Validator, type_checker=checker)(schema)


def pointers(error: Any) -> Iterator[str]:
    """Where an error is: a missing property, and a key that is wrong, have a place of their own."""
    pointer = ""
    for step in error.absolute_path:
        pointer = child(pointer, str(step))
    if error.validator == "required":
        for name in error.validator_value:
            if name not in error.instance:
                yield child(pointer, name)
    elif "propertyNames" in error.schema_path:
        yield child(pointer, error.instance)
    else:
        yield pointer


def _sentence(error: Any) -> str:
    message: str = error.message
    return message if len(message) <= 200 else f"{message[:200]}..."
