"""An OCI container runtime. The public names; everything else in this package may change.

    runtime = ocirun.Runtime(root="/run/ocirun")
    container = runtime.create("hello", "/path/to/bundle")
    container.start()
    code = container.wait()
    container.delete()

    result = ocirun.run(["python3", "-c", code], timeout=10, limits=ocirun.Limits(memory="256M"))

`ocirun.aio` has the same for asyncio.

Names are loaded when they are first used: the command line imports this module at every start.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .api import Container as Container
    from .api import Plan as Plan
    from .api import Runtime as Runtime
    from .errors import ConfigError as ConfigError
    from .errors import ContainerExists as ContainerExists
    from .errors import ContainerNotFound as ContainerNotFound
    from .errors import Error as Error
    from .errors import HookError as HookError
    from .errors import HostError as HostError
    from .errors import OperationError as OperationError
    from .errors import Problem as Problem
    from .errors import StateError as StateError
    from .errors import UsageError as UsageError
    from .process.process import Process as Process
    from .process.result import Result as Result
    from .process.result import RunError as RunError
    from .process.result import Usage as Usage
    from .process.streams import DEVNULL as DEVNULL
    from .process.streams import PIPE as PIPE
    from .process.streams import STDOUT as STDOUT
    from .process.terminal import Terminal as Terminal
    from .sandbox.limits import Limits as Limits
    from .sandbox.mount import Mount as Mount
    from .sandbox.rootfs import Rootfs as Rootfs
    from .sandbox.run import run as run
    from .spec.document import Spec as Spec
    from .spec.document import Validation as Validation
    from .store.state import State as State

_HOME = {
    "Container": "api",
    "Plan": "api",
    "Runtime": "api",
    "ConfigError": "errors",
    "ContainerExists": "errors",
    "ContainerNotFound": "errors",
    "Error": "errors",
    "HookError": "errors",
    "HostError": "errors",
    "OperationError": "errors",
    "Problem": "errors",
    "StateError": "errors",
    "UsageError": "errors",
    "Process": "process.process",
    "Result": "process.result",
    "RunError": "process.result",
    "Usage": "process.result",
    "DEVNULL": "process.streams",
    "PIPE": "process.streams",
    "STDOUT": "process.streams",
    "Terminal": "process.terminal",
    "Limits": "sandbox.limits",
    "Mount": "sandbox.mount",
    "Rootfs": "sandbox.rootfs",
    "run": "sandbox.run",
    "Spec": "spec.document",
    "Validation": "spec.document",
    "State": "store.state",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(__import__(f"{__name__}.{home}", fromlist=(name,)), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
