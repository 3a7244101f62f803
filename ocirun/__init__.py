"""An OCI container runtime. The public names; everything else in this package may change.

    runtime = ocirun.Runtime(root="/run/ocirun")
    container = runtime.create("hello", "/path/to/bundle")
    container.start()
    code = container.wait()
    container.delete()

Names are loaded when they are first used: the command line imports this module at every start.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .api import Container as Container
    from .api import Process as Process
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
    from .store.state import State as State

_HOME = {
    "Container": "api",
    "Process": "api",
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
