"""The JSON Schema of the runtime-spec, which is data for the tests and no part of this repository."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest
from jsonschema import Draft4Validator
from jsonschema.validators import extend
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

from ocirun.spec.validate import pointers

Test = TypeVar("Test", bound=Callable[..., None])

REPOSITORY = Path(__file__).resolve().parents[2]
SCHEMA = Path(os.environ.get("OCIRUN_OCI_SCHEMA", REPOSITORY.parent / "shared" / "oci-schema"))


def needed(test: Test) -> Test:
    """Marks a test as one that compares with it (`pytest -m official`): skipped where it is not."""
    skip = pytest.mark.skipif(
        not SCHEMA.is_dir(), reason="the official schema is not here: OCIRUN_OCI_SCHEMA names its directory"
    )
    marked: Test = pytest.mark.official(skip(test))
    return marked


@cache
def _validator() -> Any:
    files = {path.name: json.loads(path.read_text()) for path in SCHEMA.glob("*.json")}
    registry: Registry[Any] = Registry().with_resources(
        (name, Resource(contents, DRAFT4)) for name, contents in files.items()
    )
    # As for our own schema: 1.0 is no integer, for Go's decoder is what the specification's types come from.
    checker = Draft4Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    return extend(Draft4Validator, type_checker=checker)({"$ref": "config-schema.json"}, registry=registry)


def refused(tree: Any) -> set[str]:
    """The JSON pointers of what the official schema refuses."""
    return {
        pointer for error in _validator().iter_errors(tree) for leaf in _leaves(error) for pointer in pointers(leaf)
    }


def _leaves(error: Any) -> Iterator[Any]:
    """The innermost errors: it says "any of one" around namespaces."""
    if error.context:
        for inner in error.context:
            yield from _leaves(inner)
    else:
        yield error
