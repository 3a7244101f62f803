"""Links the modules of a command into one file, so that the installed command starts in half the time.

An import costs a search, a stat, an open, a read and some twenty calls of importlib's Python code: .1 ms each, and
`run` has forty. ocirun/linked/VERB holds the code objects of everything that `ocirun VERB` loads, in the order in which
they have to be executed; the launcher's first lines execute them one after the other. What is not in there is imported
as ever, and so is everything where the files are missing: in a checkout, and for who imports ocirun as a library.

    python native/link.py PACKAGE        writes PACKAGE/linked/*
"""

from __future__ import annotations
import __future__

import ast
import marshal
import subprocess
import sys
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from types import CodeType

# Beside cli/VERB.py and what its modules import at their top: what it usually imports later.
VERBS: dict[str, tuple[str, ...]] = {
    "create": ("cgroup.v1", "cgroup.v2", "seccomp"),
    "run": ("cgroup.v1", "cgroup.v2", "seccomp", "lifecycle.delete"),
    "exec": ("cgroup.v1", "cgroup.v2", "seccomp"),
    "start": (),
    "state": (),
    "kill": (),
    "delete": (),
    "list": (),
    "ps": (),
}

# What the launcher executes, with `modules` and `directory` (where the package is) as its globals.
LINKER = """
import sys
loaded = sys.modules
Module = type(sys)
for name, file, code in modules:
    module = loaded[name] = Module(name)
    names = module.__dict__
    names["__file__"] = f"{directory}/{file}"
    parent = name.rpartition(".")[0]
    if file.endswith("/__init__.py"):
        names["__path__"] = [f"{directory}/{file[:-12]}"]
        names["__package__"] = name
    else:
        names["__package__"] = parent
for name, file, code in modules:
    module = loaded[name]
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(loaded[parent], last, module)
    exec(code, module.__dict__)
"""


def source(package: Path, module: str) -> Path | None:
    """The file of a module, "ocirun.cli.run"; None when there is no such module."""
    path = package.parent.joinpath(*module.split("."))
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


def imported(package: Path, module: str, path: Path) -> list[str]:
    """Our own modules that a module imports when it is loaded, in that order."""
    found: list[str] = []
    parts = module.split(".")
    here = parts if path.name == "__init__.py" else parts[:-1]

    def visit(nodes: list[ast.stmt]) -> None:
        for node in nodes:
            if isinstance(node, ast.If):
                visit(node.orelse if ast.unparse(node.test) == "TYPE_CHECKING" else node.body + node.orelse)
            elif isinstance(node, ast.Try):
                visit(node.body)
            elif isinstance(node, ast.ImportFrom) and node.level:
                base = [*here[: len(here) - node.level + 1], *(node.module or "").split(".")]
                name = ".".join(part for part in base if part)
                found.append(name)
                found.extend(f"{name}.{alias.name}" for alias in node.names)

    visit(ast.parse(path.read_text()).body)
    return [name for name in found if source(package, name)]


def order(package: Path, roots: list[str]) -> list[str]:
    """The modules that loading `roots` loads, each after those that it needs."""
    done: list[str] = []
    under_way: set[str] = set()

    def load(module: str) -> None:
        path = source(package, module)
        if module in under_way or path is None:
            return
        under_way.add(module)
        parent = module.rpartition(".")[0]
        if parent:
            load(parent)
        for name in imported(package, module, path):
            load(name)
        done.append(module)

    for root in roots:
        load(root)
    return done


def compiled(path: Path, name: str) -> CodeType:
    """The code of a module, without what a start pays for and nobody sees: docstrings, and the import of __future__."""
    tree = ast.parse(path.read_bytes())
    future = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    tree.body = [node for node in tree.body if node not in future]
    flags = 0
    for node in future:
        for alias in node.names:
            flags |= getattr(__future__, alias.name).compiler_flag
    return compile(tree, name, "exec", flags=flags, dont_inherit=True, optimize=2)


def link(package: Path) -> None:
    """Write the linked files of all verbs, for the Python that runs this.

    In a process of its own: without the column of every instruction the code is a third smaller, but only an
    interpreter that was started so leaves them out.
    """
    subprocess.run([sys.executable, "-X", "no_debug_ranges", __file__, str(package)], check=True)


def write(package: Path) -> None:
    """See link()."""
    linker = compile(LINKER, "ocirun/linked", "exec", optimize=2)
    directory = package / "linked"
    directory.mkdir(exist_ok=True)
    for verb, later in VERBS.items():
        roots = ["ocirun.cli", f"ocirun.cli.{verb}", *(f"ocirun.{name}" for name in later)]
        modules = []
        for name in order(package, roots):
            path = source(package, name)
            assert path is not None
            file = path.relative_to(package.parent).as_posix()
            modules.append((name, file, compiled(path, file)))
        (directory / verb).write_bytes(MAGIC_NUMBER + marshal.dumps((linker, tuple(modules))))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
