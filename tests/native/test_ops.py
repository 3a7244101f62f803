"""ops.py and fields.py follow ops.def."""

from __future__ import annotations

import importlib.util

from harness import REPOSITORY


def test_fresh() -> None:
    spec = importlib.util.spec_from_file_location("native_ops", REPOSITORY / "native" / "ops.py")
    assert spec is not None and spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    found = generator.read(REPOSITORY / "native" / "ops.def")
    for name, text in (("ops.py", generator.write(found)), ("fields.py", generator.write_fields(found))):
        assert text == (REPOSITORY / "ocirun" / "plan" / name).read_text(), "run: python3 native/ops.py"
