"""Data flows one way: cli → lifecycle → what touches the kernel → plan → spec → errors. And nothing more is loaded
at a start than is needed, because every import is paid by every container."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from spec.strategies import minimal

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "ocirun"

# The house: each room (or module beside the rooms) and, below it, what it stands on. A module imports from its own room
# and from those below, for the type checker too; those of one line do not know each other.
HOUSE = """
__main__
cli
__init__
aio
sandbox
api
process
lifecycle features
launch
store seccomp cgroup
steps
host
_sys _seccomp
plan
spec
errors
record
"""
RANK = {name: rank for rank, line in enumerate(HOUSE.split("\n")) for name in line.split()}

# Plans and specs are data: these touch nothing, so their modules may not even be able to.
PURE = {"spec", "plan", "errors", "record"}
# posix: open() and read() of a file that is read whole (spec), strerror() (errors).
KERNEL = {"os", "posix", "fcntl", "_socket", "socket", "select", "subprocess", "ctypes"}
KERNEL_ALLOWED = {("errors", "posix"), ("spec", "posix")}

# Slow to import, and so not on the way of any command but those that say why.
HEAVY = {
    "argparse", "asyncio", "collections", "contextlib", "ctypes", "dataclasses", "enum", "functools", "importlib",
    "inspect", "json", "jsonschema", "logging", "pathlib", "re", "shutil", "signal", "socket", "struct", "subprocess",
    "tempfile", "threading", "traceback", "typing", "os",
}  # fmt: skip


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_of(path: Path) -> str:
    """As it is imported, "ocirun.cli.run"."""
    return ".".join(("ocirun", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


OURS = {module_of(path) for path in modules()} | {"ocirun._sys", "ocirun._seccomp"}


def imports(path: Path, *, top_level: bool = False, for_types: bool = False) -> set[str]:
    """The modules that a file imports, "ocirun.x.y" for our own.

    :param top_level: only what is imported when the file is
    :param for_types: what only the type checker imports as well
    """
    tree = ast.parse(path.read_text())
    package = ("ocirun", *path.relative_to(PACKAGE).parent.parts)
    found = set()

    def visit(node: ast.AST) -> None:
        if not for_types and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for child in node.orelse:
                visit(child)
            return
        if top_level and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            names = [f"{module}.{alias.name}" for alias in node.names]
            found.update(name if name in OURS else module for name in names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    own = name_of(path)
    assert own in RANK, f"{own} has no place yet: give it one in HOUSE"
    for module in imports(path, for_types=True):
        other = module.split(".")[1] if module.startswith("ocirun.") else own
        assert own == other or RANK[own] < RANK[other], f"{path.relative_to(PACKAGE)} imports {module}"


def test_no_modules_import_each_other() -> None:
    """Not by way of others either. The packages' own names are loaded lazily, so they are left out."""
    edges = {module_of(path): imports(path, for_types=True) for path in modules() if path.name != "__init__.py"}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " imports ".join((*way[way.index(module) :], module))
        if module in edges and module not in done:
            for other in sorted(edges[module]):
                visit(other, (*way, module))
            done.add(module)

    for module in sorted(edges):
        visit(module, ())


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_pure_modules_cannot_touch_the_kernel(path: Path) -> None:
    own = name_of(path)
    if own in PURE:
        for module in imports(path) & KERNEL:
            assert (own, module) in KERNEL_ALLOWED, f"{path.relative_to(PACKAGE)} imports {module}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_heavy_import_at_module_level(path: Path) -> None:
    if path == PACKAGE / "aio.py":  # whoever imports it has an event loop
        return
    assert not imports(path, top_level=True) & HEAVY


# What `ocirun state` loads beside what the bare interpreter has. A longer list is a slower command: think twice.
STATE_MODULES = {
    "__future__",
    "fcntl",
    "gc",
    "ocirun",
    "ocirun.cgroup",
    "ocirun.cgroup.members",
    "ocirun.cli",
    "ocirun.cli.call",
    "ocirun.cli.parse",
    "ocirun.cli.state",
    "ocirun.cli.table",
    "ocirun.errors",
    "ocirun.host",
    "ocirun.host.files",
    "ocirun.host.procfs",
    "ocirun.lifecycle",
    "ocirun.lifecycle.state",
    "ocirun.lifecycle.status",
    "ocirun.plan",
    "ocirun.plan.cgroup",
    "ocirun.plan.path",
    "ocirun.record",
    "ocirun.store",
    "ocirun.store.containers",
    "ocirun.store.state",
}


def loaded(*arguments: str) -> set[str]:
    """The modules that one command has loaded when it ends, without those that the interpreter starts with."""
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"
        f"sys.path.append({str(Path(sys.modules['ocirun'].__file__ or '').parents[1])!r})\n"
        f"sys.path.append({str(Path(sys.prefix, 'lib', f'python3.{sys.version_info.minor}', 'site-packages'))!r})\n"
        "import posix\n"
        "real = posix._exit\n"
        "def leave(code):\n"
        "    sys.stderr.write('MODULES ' + ' '.join(sorted(set(sys.modules) - before)) + '\\n')\n"
        "    sys.stderr.flush()\n"
        "    real(code)\n"
        "posix._exit = leave\n"
        f"sys.argv = ['ocirun', *{list(arguments)!r}]\n"
        "from ocirun.cli import main\n"
        "main()\n"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    result = subprocess.run([sys.executable, "-I", "-S", "-c", code], env=environ, capture_output=True, text=True)
    line = next((line for line in result.stderr.splitlines() if line.startswith("MODULES ")), None)
    assert line is not None, result.stderr
    return set(line.split()[1:])


def test_modules_of_state(tmp_path: Path) -> None:
    import ocirun  # noqa: F401 - where it is installed

    assert loaded("--root", str(tmp_path), "state", "nobody") - {"ocirun.cli.report"} <= STATE_MODULES


@pytest.mark.parametrize("change", ["", "relative destination"])
def test_modules_of_a_config(change: str, tmp_path: Path) -> None:
    """Nothing is loaded that only other containers need, and what warns only where there may be something."""
    config = minimal() | {"mounts": [{"destination": "proc" if change else "/proc", "type": "proc", "source": "proc"}]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    code = (
        "import sys\n"
        "from ocirun.lifecycle.create import PLAIN, Creation\n"
        f"Creation('/nowhere', 'id', {str(tmp_path)!r}, PLAIN, lambda warning: None)\n"
        "print(*[name for name in sys.modules if name.startswith('ocirun.spec.')])\n"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    plain = {"json", "model", "pointer", "read", "readers", "rules", "rules.breach"}
    plain |= {"rules.check", "scan", "tables"}
    assert {name.removeprefix("ocirun.spec.") for name in output.split()} == plain | ({"warnings"} if change else set())


def test_no_module_asks_where_it_is() -> None:
    """The modules of a snapshot were loaded elsewhere (native/launcher/repairs.c): the package's __path__ knows."""
    asking = [path.name for path in PACKAGE.rglob("*.py") if "__file__" in path.read_text()]
    assert asking == []
