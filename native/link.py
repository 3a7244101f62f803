"""Links the modules of a command into one file, so that the installed command starts in half the time.

An import costs a search, a stat, an open, a read and some twenty calls of importlib's Python code: .1 ms each, and
`run` has forty. ocirun/linked/VERB holds the code objects of everything that `ocirun VERB` loads, in the order in which
they have to be executed; the launcher's first lines execute them one after the other. What is not in there is imported
as ever, and so is everything where the files are missing: in a checkout, and for who imports ocirun as a library.

    python native/link.py PACKAGE             writes PACKAGE/linked/*
    python native/link.py PACKAGE FILE        writes one file with all modules that load nothing but each other and what
                                              is built into the interpreter, for a snapshot (native/launcher/dump.c)
"""

from __future__ import annotations
import __future__

import ast
import functools
import importlib.util
import marshal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from types import CodeType

# Version 1 needs more to be made than version 2, which comes later.
CGROUP = ("cgroup.v1", "cgroup.create", "cgroup.devices")

# Beside cli/VERB.py and what its modules import at their top: what it usually imports later.
VERBS: dict[str, tuple[str, ...]] = {
    "create": ("spec.rules.check", *CGROUP),
    "run": ("spec.rules.check", *CGROUP, "lifecycle.delete"),
    "exec": (),
    "start": (),
    "state": (),
    "kill": (),
    "delete": (),
    "list": (),
    "ps": (),
}

# Our own extension modules.
EXTENSIONS = ("_sys", "_seccomp")

# What the launcher executes, with these globals:
#
#   content      (what is executed now: (name, file, code) in order, what may be imported later: {name: (file, begin,
#                end)}, places in `tail`)
#   tail         the marshalled code of the latter
#   directories  of sys.path; the package is in the first. Empty in a snapshot, which is filled in when it starts: its
#                modules have names of files as tracebacks have them, and look nowhere for others
#   finish       does the main phase of the interpreter's initialization; None where it is done (native/launcher/)
#
# Everything else is left to the importers that the main phase installs, but for the extension modules that most
# commands need: importlib searches five directories for them, and would have to be there first.
LINKER = """
import sys, _imp
from _frozen_importlib import ModuleSpec
modules, later = content
loaded = sys.modules
Module = type(sys)

def prepare(module, file):
    names = module.__dict__
    names["__file__"] = f"{directories[0]}/{file}" if directories else file
    if file.endswith("/__init__.py"):
        names["__path__"] = [f"{directories[0]}/{file[:-12]}"] if directories else []
        names["__package__"] = module.__name__
    else:
        names["__package__"] = module.__name__.rpartition(".")[0]

class Later:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in later:
            return ModuleSpec(name, Later, is_package=later[name][0].endswith("/__init__.py"))
        if name in EXTENSIONS:
            import posix
            for file in EXTENSIONS[name]:
                for place in (file,) if file[0] == "/" else [f"{each}/{file}" for each in directories]:
                    if posix.access(place, 4):
                        return ModuleSpec(name, Extension, origin=place)
        global finish
        if finish is not None:
            now, finish = finish, None
            now()
        return None

    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def exec_module(module):
        file, begin, end = later[module.__name__]
        prepare(module, file)
        from marshal import loads
        exec(loads(tail[begin:end]), module.__dict__)

class Extension:
    create_module = staticmethod(_imp.create_dynamic)
    exec_module = staticmethod(_imp.exec_dynamic)

sys.meta_path.insert(2, Later)  # after the built-in and the frozen ones
for name, file, code in modules:
    module = loaded[name] = Module(name)
    prepare(module, file)
for name, file, code in modules:
    module = loaded[name]
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(loaded[parent], last, module)
    exec(code, module.__dict__)
"""


def extensions() -> dict[str, tuple[str, ...]]:
    """Where the extension modules are that commands need: paths, or names below the directories of sys.path."""
    suffix = str(sysconfig.get_config_var("EXT_SUFFIX"))
    found = {}
    for name in ("_json", "_struct", "_socket", "_stat", "fcntl", "select", "termios", "time"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None and spec.origin.startswith("/"):
            found[name] = (spec.origin,)
    found["_cffi_backend"] = (f"_cffi_backend{suffix}",)
    found["ocirun._sys"] = ("ocirun/_sys.abi3.so", f"ocirun/_sys{suffix}")
    return found


def source(package: Path, module: str) -> Path | None:
    """The file of a module, "ocirun.cli.run"; None when there is no such module."""
    path = package.parent.joinpath(*module.split("."))
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


def outermost(nodes: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that are executed when a module is loaded."""
    for node in nodes:
        if isinstance(node, ast.If):
            yield from outermost(node.orelse if ast.unparse(node.test) == "TYPE_CHECKING" else node.body + node.orelse)
        elif isinstance(node, ast.Try):
            yield from outermost(node.body)
        else:
            yield node


@functools.cache
def parsed(path: Path) -> ast.Module:
    """The tree of a file, which nobody changes."""
    return ast.parse(path.read_bytes())


@functools.cache
def imported(package: Path, module: str, path: Path) -> list[str]:
    """Our own modules that a module imports when it is loaded, in that order."""
    found: list[str] = []
    parts = module.split(".")
    here = parts if path.name == "__init__.py" else parts[:-1]

    for node in outermost(parsed(path).body):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*here[: len(here) - node.level + 1], *(node.module or "").split(".")]
            name = ".".join(part for part in base if part)
            found.append(name)
            found.extend(f"{name}.{alias.name}" for alias in node.names)
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


@functools.cache
def compiled(path: Path, name: str) -> CodeType:
    """The code of a module, without what a start pays for and nobody sees: docstrings, and the import of __future__."""
    future = [node for node in parsed(path).body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    tree = ast.Module([node for node in parsed(path).body if node not in future], [])
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
    everything = modules(package)
    directory = package / "linked"
    directory.mkdir(exist_ok=True)
    for verb, more in VERBS.items():
        now = order(package, ["ocirun.cli", f"ocirun.cli.{verb}", *(f"ocirun.{name}" for name in more)])
        later = [name for name in everything if name not in now and name.removeprefix("ocirun.cli.") not in VERBS]
        (directory / verb).write_bytes(file_of(package, now, later))


def write_all(package: Path, output: Path) -> None:
    """Write the file for a snapshot."""
    everything = modules(package)
    now: list[str] = []
    everything.pop("ocirun.__main__", None)  # is the command, and no module
    for name in ["ocirun.cli", *everything]:
        wanted = order(package, [name])
        if all(builtin(everything[each]) for each in wanted):
            now += [each for each in wanted if each not in now]
    output.write_bytes(file_of(package, now, [name for name in everything if name not in now]))


def modules(package: Path) -> dict[str, Path]:
    """All of the package."""
    return {
        ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(package.rglob("*.py"))
    }


def builtin(path: Path) -> bool:
    """Is all that a module loads, when it is loaded, ours or built into the interpreter?"""
    for node in outermost(parsed(path).body):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        elif isinstance(node, ast.ImportFrom):
            names = [name for name in (node.module, *(alias.name for alias in node.names)) if name in EXTENSIONS]
        else:
            continue
        if not set(names) <= {*sys.builtin_module_names, "__future__"}:
            return False
    return True


def file_of(package: Path, now: list[str], later: list[str]) -> bytes:
    """A linked file: what is executed, in this order, and what may be imported afterwards."""
    everything = modules(package)
    linker = compile(LINKER.replace("EXTENSIONS", repr(extensions())), "ocirun/linked", "exec", optimize=2)
    places = {}
    tail = b""
    for name in later:
        file, code = linkable(package, everything[name])
        data = marshal.dumps(code)
        places[name] = (file, len(tail), len(tail) + len(data))
        tail += data
    loaded = tuple((name, *linkable(package, everything[name])) for name in now)
    head = marshal.dumps((linker, (loaded, places)))
    return MAGIC_NUMBER + len(head).to_bytes(4, "little") + head + tail


def linkable(package: Path, path: Path) -> tuple[str, CodeType]:
    """The file of a module as tracebacks show it, and its code."""
    file = path.relative_to(package.parent).as_posix()
    return file, compiled(path, file)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        write(Path(sys.argv[1]))
    else:
        write_all(Path(sys.argv[1]), Path(sys.argv[2]))
