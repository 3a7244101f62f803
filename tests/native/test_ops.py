"""ops.py follows ops.def."""

from __future__ import annotations

import importlib.util

from initdriver import REPOSITORY


def test_fresh() -> None:
    spec = importlib.util.spec_from_file_location("native_ops", REPOSITORY / "native" / "ops.py")
    assert spec is not None and spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    text = generator.write(generator.read(REPOSITORY / "native" / "ops.def"))
    assert text == (REPOSITORY / "ocirun" / "plan" / "ops.py").read_text(), (
        "run: python3 native/ops.py > ocirun/plan/ops.py"
    )
