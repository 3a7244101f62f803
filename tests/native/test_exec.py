"""The working directory, the executable, HOME and the exec, in a root of their own."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

import harness
import pytest
from initdriver import Driver, Outcome, finish

from ocirun.plan import ops
from ocirun.plan.ops import Operation

Container = Callable[..., list[Operation]]


def file(path: Path, content: str | bytes, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


def elf(interpreter: bytes, bits: int = 64, machine: int | None = None, offset: int = 0) -> bytes:
    """The head of an ELF file that names this interpreter, in one segment."""
    native = {"x86_64": (62, 3), "aarch64": (183, 40)}[os.uname().machine]
    machine = native[bits == 32] if machine is None else machine
    ident = b"\x7fELF" + bytes([bits // 32, 1, 1]) + bytes(9)
    head, entry = (64, 56) if bits == 64 else (52, 32)
    name = interpreter + b"\0"
    if bits == 64:
        header = struct.pack("=HHIQQQIHHHHHH", 3, machine, 1, 0, head, 0, 0, head, entry, 1, 0, 0, 0)
        segment = struct.pack("=IIQQQQQQ", 3, 4, offset or head + entry, 0, 0, len(name), len(name), 1)
    else:
        header = struct.pack("=HHIIIIIHHHHHH", 3, machine, 1, 0, head, 0, 0, head, entry, 1, 0, 0, 0)
        segment = struct.pack("=IIIIIIII", 3, offset or head + entry, 0, 0, len(name), len(name), 4, 1)
    return ident + header + segment + name


# finding


@pytest.fixture
def find(init: Driver, container: Container) -> Callable[..., Outcome]:
    """Look for an executable inside the root, and nothing more."""

    def run(name: str, *env: str, before: tuple[Operation, ...] = ()) -> Outcome:
        return init.run(*container(), *before, ops.find_executable("init", "", name=name, env=env))

    return run


def test_texts_of_runc(find: Callable[..., Outcome], rootfs: Path) -> None:
    file(rootfs / "bin" / "plain", "text", 0o644)
    assert find("nonesuch", "PATH=/bin:/usr/bin").text == 'exec: "nonesuch": executable file not found in $PATH'
    assert find("/nonesuch").text == 'exec: "/nonesuch": stat /nonesuch: no such file or directory'
    assert find("/bin/plain/x").text == 'exec: "/bin/plain/x": stat /bin/plain/x: not a directory'
    assert find("/bin/plain").text == 'exec: "/bin/plain": permission denied'
    assert find("/etc").text == 'exec: "/etc": is a directory'
    assert find("").text == 'exec: "": executable file not found in $PATH'
    assert find("x" * 5000).text == f'exec: "{"x" * 5000}": executable file not found in $PATH'[:4095]
    assert find("/" + "x" * 5000).text == "file name too long"


def test_path(find: Callable[..., Outcome], rootfs: Path) -> None:
    file(rootfs / "bin" / "plain", "text", 0o644)
    (rootfs / "bin" / "probe").mkdir()
    assert find("probe", "PATH=/nonesuch:/bin:/").failure is None, "a directory does not count"
    assert find("plain", "PATH=/bin").text == 'exec: "plain": executable file not found in $PATH'
    assert "not found in $PATH" in find("probe").text, "no PATH, nothing is found: as in runc"
    assert "not found in $PATH" in find("probe", "PATH=/", "PATH=/tmp").text, "the last one counts"
    assert find("probe", "PATH=").text == 'exec: "probe": executable file not found in $PATH'
    relative = 'exec: "probe": cannot run executable found relative to current directory'
    assert find("probe", "PATH=:/").text == relative
    assert find("probe", "PATH=.").text == relative
    assert find("./probe").failure is None


def test_first_in_path(init: Driver, container: Container, rootfs: Path) -> None:
    (rootfs / "bin" / "prog").symlink_to("/probe")
    file(rootfs / "tmp" / "prog", "#!/probe exit 3\n")
    got = init.run(*container(), *finish("prog", "echo", "hello", env=["PATH=/bin:/tmp"]))
    assert got.output == "hello\n"


def test_for_this_user(find: Callable[..., Outcome], rootfs: Path) -> None:
    """Executable for whom the process is by then."""
    file(rootfs / "bin" / "secret", "#!/probe\n", 0o700)
    user = ops.set_user("init", "", uid=1000, gid=1000, groups=b"", set_groups=1)
    assert find("/bin/secret").failure is None
    assert find("/bin/secret", before=(user,)).text == 'exec: "/bin/secret": permission denied'
    (rootfs / "bin").chmod(0o700)
    text = 'exec: "/bin/secret": stat /bin/secret: permission denied'
    assert find("/bin/secret", before=(user,)).text == text


def test_without_faccessat2(init: Driver, find: Callable[..., Outcome], rootfs: Path) -> None:
    init.environment = {"OCIRUN_INIT_WITHOUT": "faccessat2"}
    file(rootfs / "bin" / "plain", "text", 0o644)
    assert find("/bin/plain").text == 'exec: "/bin/plain": permission denied'
    assert find("/probe").failure is None


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.mknod(path, 0o20777, os.makedev(1, 3))])
def test_no_regular_file(find: Callable[..., Outcome], rootfs: Path, make: Callable[[Path], None]) -> None:
    make(rootfs / "special")
    (rootfs / "special").chmod(0o777)
    assert find("/special").text == 'exec: "/special": permission denied'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("#!/nonesuch\n", "#! interpreter /nonesuch: no such file or directory"),
        ("#!  /nonesuch -x y\n", "#! interpreter /nonesuch: no such file or directory"),
        ("#!\t/nonesuch", "#! interpreter /nonesuch: no such file or directory"),
        (
            "#!/probe\r\n",
            "#! interpreter /probe followed by a carriage return (the line ends in CRLF): no such file or directory",
        ),
        ("#!/etc\n", "#! interpreter /etc: is a directory"),
        ("#!/tmp/plain\n", "#! interpreter /tmp/plain: permission denied"),
        ("#!\n/probe", "its #! line names no interpreter: exec format error"),
        ("#!", "its #! line names no interpreter: exec format error"),
        ("#!  \0/probe\n", "its #! line names no interpreter: exec format error"),
        ("#!/" + "x" * 300 + "\n", "its #! line is too long: exec format error"),
        ("#!/script\n", "more than 5 interpreters one inside the other: too many levels of symbolic links"),
        ("#!/tmp/second\n", "#! interpreter /tmp/third: no such file or directory"),
        (elf(b"/lib/ld-none.so"), "ELF interpreter /lib/ld-none.so: no such file or directory"),
        (elf(b"/lib/ld-none.so", 32), "ELF interpreter /lib/ld-none.so: no such file or directory"),
        (elf(b"/tmp/plain"), "ELF interpreter /tmp/plain: permission denied"),
    ],
    ids=range(15),
)
def test_interpreters(find: Callable[..., Outcome], rootfs: Path, content: str | bytes, reason: str) -> None:
    file(rootfs / "script", content)
    file(rootfs / "tmp" / "plain", "text", 0o644)
    file(rootfs / "tmp" / "second", "#! /tmp/third\n")
    assert find("/script").text == f'exec: "/script": {reason}'


@pytest.mark.parametrize(
    "content",
    [
        b"", b"#", b"\x7fEL", b"\x7fELF", b"no program",
        elf(b"/nonesuch", machine=8),  # somebody else's machine: binfmt_misc knows
        elf(b""), elf(b"/nonesuch")[:100], elf(b"/nonesuch", offset=2**62), elf(b"x" * 5000),
        elf(b"/nonesuch").replace(struct.pack("=Q", 64), struct.pack("=Q", 2**63), 1),
    ],
    ids=range(11),
)  # fmt: skip
def test_left_to_the_kernel(find: Callable[..., Outcome], rootfs: Path, content: bytes) -> None:
    file(rootfs / "script", content)
    assert find("/script").failure is None


def test_executable_but_unreadable(init: Driver, container: Container, rootfs: Path) -> None:
    (rootfs / "probe").chmod(0o711)
    user = ops.set_user("init", "", uid=1000, gid=1000, groups=b"", set_groups=1)
    assert init.run(*container(), user, *finish("/probe", "echo", "x")).output == "x\n"


def test_script(init: Driver, container: Container, rootfs: Path) -> None:
    file(rootfs / "script", "#! /probe echo\n")
    assert init.run(*container(), *finish("/script", "a")).output == "/script a\n"


@pytest.mark.parametrize("name", ["/proc/self/exe", "/script"])
def test_ourselves(init: Driver, container: Container, rootfs: Path, name: str) -> None:
    """CVE-2019-5736: what /proc/self/exe then is cannot be written to and does nothing."""
    file(rootfs / "script", "#!/proc/self/exe\n")
    got = init.run(*container(proc=True), *finish(name))
    assert got.failure is None and got.status == 127 and got.output == ""


# executing


def test_words_and_environment(init: Driver, container: Container) -> None:
    env = ["A=1", "EMPTY=", "NOVALUE", "A=2", "HOME=/h"]
    got = init.run(*container(proc=True), *finish("/probe", "report", "ä", env=env)).json()
    assert got["env"] == env and got["comm"] == "probe"
    assert len(got["argv"]) == 3


def test_format(init: Driver, container: Container, rootfs: Path) -> None:
    file(rootfs / "text", "no program\n")
    got = init.run(*container(), *finish("/text"))
    assert got.messages[-1] == "ready" and got.text == "/text: exec format error" and got.status == 1


PASSWD = (
    "root:x:0:0:root:/the/root:/bin/sh\ndaemon:x:1:1::/first:\nshort:x:7\nx:x:01a:1::/bad:\nagain:x:1:1::/second:\n"
)


@pytest.mark.parametrize(
    ("passwd", "uid", "env", "home"),
    [
        (PASSWD, 0, [], "/the/root"),
        (PASSWD, 1, [], "/first"),
        (PASSWD, 7, [], ""),
        (PASSWD, 99, [], "/"),
        (PASSWD, 0, ["HOME=", "X=y"], "/the/root"),
        (PASSWD, 0, ["HOME=/mine"], "/mine"),
        (None, 0, [], "/"),
        ("", 0, [], "/"),
        ("x" * 5000 + ":x:0:0::/long:\nr:x:0:0::/next:", 0, [], "/next"),
        ("r:x:0:0:::/bin/sh\n", 0, [], ""),
        ("r:x:4294967296:0::/wrapped:\n", 0, [], "/"),
        ("r:x:-0:0::/minus:\n", 0, [], "/"),
        ("r:x:0:0::/nonl", 0, [], "/nonl"),
    ],
)
def test_home(
    init: Driver, container: Container, rootfs: Path, passwd: str | None, uid: int, env: list[str], home: str
) -> None:
    if passwd is not None:
        file(rootfs / "etc" / "passwd", passwd, 0o600)
    user = ops.set_user("init", "", uid=uid, gid=uid, groups=b"", set_groups=1)
    got = init.run(*container(proc=True), user, *finish("/probe", "report", env=env, uid=uid)).json()
    assert got["env"] == ([f"HOME={home}", *env[1:]] if env else [f"HOME={home}"])


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/etc/passwd")])
def test_hostile_passwd(init: Driver, container: Container, rootfs: Path, make: Callable[[Path], None]) -> None:
    make(rootfs / "etc" / "passwd")
    got = init.run(*container(proc=True), *finish("/probe", "report")).json()
    assert got["env"] == ["HOME=/"]


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


def late(path: Path) -> None:
    path.write_text("#\n" * (1 << 19) + "root:x:0:0::/late:/bin/sh\n")


@pytest.mark.parametrize(
    "make",
    [
        sparse,
        late,
        lambda path: path.symlink_to("/proc/self/pagemap"),
        lambda path: path.symlink_to("/proc/kallsyms"),
        lambda path: path.symlink_to("/proc/self/fd/1"),
        lambda path: path.symlink_to("/sys/kernel/notes"),
    ],
)
def test_a_passwd_without_an_end(
    init: Driver, container: Container, rootfs: Path, make: Callable[[Path], None]
) -> None:
    """CVE-2026-135844: no more than 1 MiB of it is read, and nothing of the kernel's own file systems."""
    (rootfs / "sys").mkdir(exist_ok=True)
    make(rootfs / "etc" / "passwd")
    begin = time.monotonic()
    got = init.run(*container(proc=True), *finish("/probe", "report")).json()
    assert got["env"] == ["HOME=/"]
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(("env", "read"), [(["HOME=/mine"], False), (["A=1"], True), (["HOME="], True)])
def test_passwd_is_read_only_where_home_is_wanted(
    init: Driver, container: Container, rootfs: Path, env: list[str], read: bool
) -> None:
    """Told by its access time, which relatime sets when it is older than that of the last change."""
    passwd = file(rootfs / "etc" / "passwd", PASSWD)
    os.utime(passwd, (1, 2))
    user = ops.set_user("init", "", uid=0, gid=0, groups=b"", set_groups=1)
    init.run(*container(proc=True), user, *finish("/probe", "report", env=env, uid=0)).json()
    assert (passwd.stat().st_atime != 1) is read


# the working directory


def test_chdir(init: Driver, container: Container, rootfs: Path) -> None:
    go = ops.chdir("init", "", path="/tmp", required=1)
    assert init.run(*container(), go, *finish("/probe", "getcwd")).output.strip() == "/tmp"


def test_chdir_to_nowhere(init: Driver, container: Container, rootfs: Path) -> None:
    file(rootfs / "file", "")
    for path, reason in (("/nonesuch", "no such file or directory"), ("/file", "not a directory")):
        for required in (0, 1):
            assert init.run(*container(), ops.chdir("init", "", path=path, required=required)).text == reason


def test_chdir_once_more_as_the_user(init: Driver, container: Container, rootfs: Path) -> None:
    """A directory closed to root without CAP_DAC_OVERRIDE, but not to the user."""
    (rootfs / "home").mkdir(mode=0o700)
    os.chown(rootfs / "home", 1000, 1000)
    none = ops.set_capabilities(
        "init", "", effective=1 << 6 | 1 << 7, permitted=1 << 6 | 1 << 7, inheritable=0, ambient=0, for_filter=0
    )
    user = ops.set_user("init", "", uid=1000, gid=1000, groups=b"", set_groups=1)
    first, second = (ops.chdir("init", "", path="/home", required=required) for required in (0, 1))
    assert init.run(*container(), none, second).text == "permission denied"
    got = init.run(*container(), none, first, user, second, *finish("/probe", "getcwd"))
    assert got.output.strip() == "/home", got


@pytest.mark.parametrize("required", [0, 1])
def test_chdir_out_of_the_root(init: Driver, container: Container, required: int) -> None:
    """CVE-2024-21626."""
    init.preserve = 1
    init.in_child = lambda: os.dup2(os.open("/etc", os.O_RDONLY), 3) and None
    got = init.run(*container(proc=True), ops.chdir("init", "", path="/proc/self/fd/3", required=required))
    assert "outside of container mount namespace root -- possible container breakout detected" in got.text


def test_a_working_directory_that_leaves_the_root(init: Driver, scratch: Path) -> None:
    """After it has been entered: the kernel says then that it cannot be reached."""
    place = scratch / "place"
    place.mkdir()
    harness.mount("tmpfs", str(place), "tmpfs")
    init.before["mounts"] = lambda pid: harness.unmount(str(place))
    go = ops.chdir("init", "", path=str(place), required=1)
    got = init.run(ops.use_root("init", ""), go, ops.mounts_ready("init", ""), go)
    assert got.messages == ["mounts"]
    assert "possible container breakout detected" in got.text


@pytest.mark.parametrize("number", range(3, 16))
@pytest.mark.parametrize("below", ["", "/.."])
def test_chdir_by_our_own_descriptors(init: Driver, container: Container, number: int, below: str) -> None:
    """The same with whatever the init itself has open at that moment: the root, at most, which is "/"."""
    go = ops.chdir("init", "", path=f"/proc/self/fd/{number}{below}", required=1)
    got = init.run(*container(proc=True), go, *finish("/probe", "getcwd"))
    if got.failure is None:
        assert got.output.strip() == "/"
    else:
        assert "breakout" in got.text or got.failure[1] in (2, 20)  # ENOENT, ENOTDIR: closed, or no directory
