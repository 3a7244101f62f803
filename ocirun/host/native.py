"""The parent side's system calls (native/sys.c), typed once for mypy.

Every function returns a descriptor, a pid or 0, or a negative errno: see native/sys.c for what each does.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Lib(Protocol):
        """native/sys.h."""

        def sys_bpf_prog_load(self, instructions: Any, count: int, log: Any, log_size: int) -> int: ...
        def sys_bpf_attach_device(self, cgroup: int, program: int, flags: int) -> int: ...
        def sys_subreaper(self) -> int: ...
        def sys_take_descriptor(self, process: int, descriptor: int) -> int: ...
        def sys_spawn_hook(
            self, path: Any, argv: Any, envp: Any, directory: Any, input: int, output: int
        ) -> int: ...
        def sys_route_socket(self, network: int) -> int: ...
        def sys_sched_setattr(
            self, pid: int, policy: int, nice: int, priority: int, flags: int, runtime: int, deadline: int, period: int
        ) -> int: ...
        def sys_ioprio_set(self, pid: int, level: int, priority: int) -> int: ...
        def sys_wait_process(self, pidfd: int, result: Any) -> int: ...

    class FFI(Protocol):
        """What is used of cffi.FFI."""

        NULL: Any

        def new(self, ctype: str, init: Any = None) -> Any: ...
        def buffer(self, data: Any, size: int = -1) -> Any: ...
        def string(self, data: Any) -> bytes: ...
        def from_buffer(self, data: Any) -> Any: ...

    lib: Lib
    ffi: FFI
else:
    from .._sys import ffi, lib

__all__ = ["ffi", "lib"]
