"""No C source gives a path of the image to a system call without a descriptor from inroot.h.

Most advisories of this field have that one cause: a path of the hostile root is looked up a second time, or without a
root to stay in (CVE-2026-78409, CVE-2026-78410, and what tests/run/test_security.py has). So every call that takes a
path is looked at here. It passes by itself when the path is empty or ".", or one component below a descriptor that is
not followed if it is a symlink. Everything else has its reason in BY_NAME.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
INIT = REPOSITORY / "native" / "init"

# The places of directory and path among the arguments, -1 for no directory.
CALLS = {
    "open": [(-1, 0)], "creat": [(-1, 0)], "fopen": [(-1, 0)], "opendir": [(-1, 0)], "openat": [(0, 1)],
    "stat": [(-1, 0)], "lstat": [(-1, 0)], "fstatat": [(0, 1)], "statx": [(0, 1)], "statfs": [(-1, 0)],
    "access": [(-1, 0)], "faccessat": [(0, 1)], "readlink": [(-1, 0)], "readlinkat": [(0, 1)],
    "chdir": [(-1, 0)], "chroot": [(-1, 0)], "mkdir": [(-1, 0)], "mkdirat": [(0, 1)], "rmdir": [(-1, 0)],
    "mknod": [(-1, 0)], "mknodat": [(0, 1)], "mkfifo": [(-1, 0)], "symlink": [(-1, 1)], "symlinkat": [(1, 2)],
    "link": [(-1, 0), (-1, 1)], "linkat": [(0, 1), (2, 3)], "unlink": [(-1, 0)], "unlinkat": [(0, 1)],
    "rename": [(-1, 0), (-1, 1)], "renameat": [(0, 1), (2, 3)], "renameat2": [(0, 1), (2, 3)],
    "chmod": [(-1, 0)], "fchmodat": [(0, 1)], "chown": [(-1, 0)], "lchown": [(-1, 0)], "fchownat": [(0, 1)],
    "utimensat": [(0, 1)], "truncate": [(-1, 0)], "execve": [(-1, 0)], "execv": [(-1, 0)], "realpath": [(-1, 0)],
    "setxattr": [(-1, 0)], "getxattr": [(-1, 0)], "listxattr": [(-1, 0)], "lsetxattr": [(-1, 0)],
    "mount": [(-1, 0), (-1, 1)], "umount": [(-1, 0)], "umount2": [(-1, 0)],
    "kernel_openat2": [(0, 1)], "kernel_faccessat2": [(0, 1)], "kernel_fchmodat2": [(0, 1)],
    "kernel_open_tree": [(0, 1)], "kernel_clone_detached": [(0, 1)], "kernel_move_mount": [(0, 1), (2, 3)],
    "kernel_mount_setattr": [(0, 1)], "kernel_mount": [(-1, 0), (-1, 1)], "kernel_umount2": [(-1, 0)],
    "kernel_pivot_root": [(-1, 0), (-1, 1)],
}  # fmt: skip

# Never through a symlink in the last place, whatever their flags.
NEVER_FOLLOW = {"mkdirat", "mknodat", "symlinkat", "linkat", "unlinkat", "readlinkat", "renameat2"}
NO_FOLLOW = re.compile(r"\bO_NOFOLLOW\b|\bAT_SYMLINK_NOFOLLOW\b|\bO_EXCL\b")
NOTHING = {'""', '"."', "NULL"}

CONFIGURED = "a host path of config.json, which is trusted, before the container's root is entered"
OF_THE_HOST = "a file of the host's, before the container's root is entered"
OUR_OWN = "a directory of ours, attached nowhere, with nothing in it but what we have made"
INSIDE = "PID 1 inside of its root for good, with nothing of the host in reach: the program's own view"
VERIFIED = "found in a procfs that has been verified, one component at a time"

# file, function, call → why that may be
BY_NAME = {
    ("copyup.c", "copy_node", "fchmodat"): "in the new file system, which nobody else can reach: just made",
    ("copyup.c", "copy_owner", "fchownat"): "likewise; the flags are given by who calls it",
    ("home.c", "open_passwd", "kernel_openat2"): INSIDE + "; no magic link, and only a regular file is read",
    ("home.c", "open_passwd", "open"): INSIDE + "; only a regular file is read",
    ("hooks.c", "exec_hook", "execve"): "the hook's path of config.json, which is trusted",
    ("inroot.c", "resolve", "kernel_openat2"): "RESOLVE_IN_ROOT: this is inroot",
    ("main.c", "close_listed", "opendir"): OF_THE_HOST,
    ("main.c", "open_standard_descriptors", "open"): OF_THE_HOST,
    ("op_bind.c", "op_open_tree", "kernel_open_tree"): CONFIGURED,
    ("op_bind.c", "op_open_tree", "open"): CONFIGURED,
    ("op_bind.c", "bind_path", "open"): CONFIGURED,
    ("op_bind.c", "op_propagation", "kernel_mount"): "the root of the runtime's copied mount namespace",
    ("op_device.c", "clone_stored", "kernel_clone_detached"): OUR_OWN,
    ("op_device.c", "clone_stored", "kernel_open_tree"): OUR_OWN,
    ("op_device.c", "clone_stored", "open"): "the root of the mount namespace, for a moment",
    ("op_device.c", "open_host_node", "open"): OF_THE_HOST + ", checked by type and number",
    ("op_exec.c", "enter_cwd", "stat"): INSIDE + "; only for the words of an error",
    ("op_exec.c", "op_exec", "execve"): INSIDE,
    ("op_exec.c", "take_path", "stat"): INSIDE + "; only for the words of an error",
    ("op_idmap.c", "open_namespace", "openat"): VERIFIED + "; its type is asked afterwards",
    ("op_mount.c", "op_new_mount", "stat"): CONFIGURED,
    ("op_namespace.c", "join_one_by_one", "openat"): "the namespace links of a process of ours, in the host's procfs",
    ("op_namespace.c", "op_open", "open"): CONFIGURED + ", or of the cgroup file system",
    ("op_namespace.c", "op_open_cgroup", "kernel_open_tree"): OF_THE_HOST,
    ("op_namespace.c", "op_open_cgroup", "open"): OF_THE_HOST,
    ("op_namespace.c", "write_own", "open"): OF_THE_HOST + ": /proc/self",
    ("op_node.c", "fill", "fchmodat"): OUR_OWN,
    ("op_root.c", "change_root", "chdir"): "the root that was entered by its descriptor",
    ("op_root.c", "hide_kernel_fs", "kernel_mount"): "mount points of the host's mountinfo, outside of the new root",
    ("op_root.c", "hide_kernel_fs", "kernel_umount2"): "mount points of the host's mountinfo, outside of the new root",
    ("op_root.c", "make_parent_private", "chdir"): CONFIGURED + ": up from the root's directory",
    ("op_root.c", "op_enter_root", "chdir"): CONFIGURED,
    ("op_root.c", "op_move_root", "kernel_mount"): "over the root of the mount namespace",
    ("op_root.c", "op_pivot_root", "chdir"): "the root that was entered by its descriptor",
    ("op_root.c", "op_root_propagation", "kernel_mount"): "the root that was entered by its descriptor",
    ("op_root.c", "open_directory", "open"): CONFIGURED + ', or "/" and "."',
    ("op_root.c", "read_mountinfo", "open"): OF_THE_HOST,
    ("procfs.c", "mounted_procfs", "open"): "verified by file system and inode right afterwards",
    ("procfs.c", "mount_in", "kernel_mount"): VERIFIED,
    ("procfs.c", "procfs_beneath", "kernel_openat2"): VERIFIED + ": RESOLVE_NO_SYMLINKS and RESOLVE_NO_XDEV",
    ("procfs.c", "procfs_chmod", "fchmodat"): VERIFIED,
    ("program.c", "check_executable", "kernel_faccessat2"): INSIDE,
    ("program.c", "check_executable", "stat"): INSIDE,
    ("program.c", "read_interpreter", "open"): INSIDE + ", what a program needs beside itself",
}


@dataclass(frozen=True)
class Call:
    function: str
    name: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.function}(): {self.name}({', '.join(self.arguments)})"


def calls(text: str) -> Iterator[Call]:
    """Every call of CALLS in a C source, with the function that it is in."""
    text = re.sub(r"/\*.*?\*/", lambda comment: "\n" * comment[0].count("\n"), text, flags=re.S)
    function = ""
    position = 0
    for line in text.splitlines(keepends=True):
        head = re.match(r"[a-z][\w\s*]*?\b(\w+)\(", line)
        if head and not line.rstrip().endswith(";"):
            function = head[1]
        code = re.sub(r'"(?:[^"\\]|\\.)*"', lambda literal: "_" * len(literal[0]), line)
        for found in re.finditer(r"(?<![\w.>])(\w+)\(", code):
            # Declarations and definitions begin with a type.
            if found[1] in CALLS and not re.match(r"[a-z]", line):
                yield Call(function, found[1], arguments(text, position + found.end()))
        position += len(line)


def arguments(text: str, start: int) -> tuple[str, ...]:
    """What is between the parentheses, split at its commas."""
    depth, parts, quoted = 0, [""], False
    for index in range(start, len(text)):
        character = text[index]
        if character == '"' and text[index - 1] != "\\":
            quoted = not quoted
        if not quoted and character in "([{":
            depth += 1
        elif not quoted and character in ")]}":
            if depth == 0:
                break
            depth -= 1
        elif not quoted and character == "," and depth == 0:
            parts.append("")
            continue
        parts[-1] += character
    return tuple(re.sub(r"\s+", " ", part).strip() for part in parts)


def is_by_name(call: Call) -> bool:
    """Whether the call looks a path up that could lead elsewhere."""
    for directory, path in CALLS[call.name]:
        if path >= len(call.arguments) or call.arguments[path] in NOTHING:
            continue
        below = directory >= 0 and call.arguments[directory] not in ("AT_FDCWD", "-1")
        component = re.fullmatch(r"\w+|\"[\w.]+\"", call.arguments[path])
        no_follow = call.name in NEVER_FOLLOW or any(NO_FOLLOW.search(argument) for argument in call.arguments)
        if not (below and component and no_follow):
            return True
    return False


def found_in(path: Path) -> set[tuple[str, str, str]]:
    return {(path.name, call.function, call.name) for call in calls(path.read_text()) if is_by_name(call)}


def test_no_path_of_the_image_without_a_descriptor() -> None:
    """CVE-2026-78409, CVE-2026-78410: and AT_SYMLINK_NOFOLLOW of open_tree(2) is no help in the middle of a path."""
    found = {key for path in sorted(INIT.glob("*.[ch]")) if path.name != "kernel.h" for key in found_in(path)}
    assert found - BY_NAME.keys() == set(), "by descriptor (inroot.h), or with the reason in BY_NAME"
    assert BY_NAME.keys() - found == set(), "not there any more"


def test_system_calls_are_made_by_their_wrappers() -> None:
    """So that the list of CALLS is all there is: no syscall(2) with a path elsewhere."""
    taking_paths = re.compile(r"SYS_(open|openat2?|mount|open_tree|move_mount|execve\w*|stat\w*|newfstatat|chdir)\b")
    for path in sorted(INIT.glob("*.c")):
        assert not taking_paths.search(path.read_text()), path.name


@pytest.mark.parametrize("name", ["naive_inroot.c", "naive_procfs.c", "naive_op_device.c"])
def test_sources_without_the_defence_are_seen(name: str) -> None:
    assert found_in(REPOSITORY / "tests" / "native" / name)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("static int f(void)\n{\n\treturn open(path, O_RDONLY);\n}\n", True),
        ('static int f(void)\n{\n\treturn open("/etc/passwd", O_RDONLY | O_NOFOLLOW);\n}\n', True),
        ("static int f(void)\n{\n\treturn openat(fd, name, O_PATH | O_NOFOLLOW);\n}\n", False),
        ("static int f(void)\n{\n\treturn openat(fd, name, O_PATH);\n}\n", True),
        ("static int f(void)\n{\n\treturn openat(AT_FDCWD, name, O_PATH | O_NOFOLLOW);\n}\n", True),
        ('static int f(void)\n{\n\treturn openat(fd, "a/b", O_PATH | O_NOFOLLOW);\n}\n', True),
        ('static int f(void)\n{\n\treturn kernel_open_tree(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW);\n}\n', True),
        ('static int f(void)\n{\n\treturn kernel_open_tree(fd, "", AT_EMPTY_PATH);\n}\n', False),
        ("static int f(void)\n{\n\treturn mkdirat(fd, name, 0755);\n}\n", False),
        ("/* open(path) */\nint open(const char *path);\n", False),
    ],
)
def test_what_is_seen(text: str, seen: bool) -> None:
    assert any(map(is_by_name, calls(text))) == seen


def test_bpf_is_given_its_whole_union() -> None:
    """BPF_PROG_QUERY writes 8 bytes past an attribute of 32 on Linux 6.17 to 7.1 (seen with Go runtimes): each of our
    bpf(2) calls passes a whole union bpf_attr, and says so."""
    text = (REPOSITORY / "native" / "sys.c").read_text()
    made = re.findall(r"syscall\(SYS_bpf, \w+, &(\w+), sizeof\((\w+)\)\)", text)
    assert len(made) == text.count("SYS_bpf") >= 2
    assert all(given == measured for given, measured in made)
    assert text.count("union bpf_attr attr;") == len(made) and {given for given, _ in made} == {"attr"}
    others = [path for path in sorted((REPOSITORY / "native").rglob("*.c")) if path.name != "sys.c"]
    assert [path.name for path in others if "SYS_bpf" in path.read_text()] == []
