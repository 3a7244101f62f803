"""What is to happen with the streams of a program that is run to its end, as the arguments of subprocess.run say it."""

from __future__ import annotations

from ..errors import StateError, UsageError
from .exchange import Collected, exchange
from .size import in_bytes
from .streams import DEVNULL, PIPE, Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .process import Process
    from .streams import Stream
    from .wait import Waiting

    Sink = Stream | Callable[[bytes], object]

MOST = "16M"  # of each output


class Capture:
    """The streams of one run."""

    def __init__(
        self,
        input: bytes | str | None,
        stdin: Stream,
        stdout: Sink,
        stderr: Sink,
        text: bool,
        encoding: str | None,
        errors: str | None,
        max_output: int | str,
    ) -> None:
        """The arguments of run().

        :raises UsageError: they do not go together
        """
        self._encoding = (encoding or "utf-8") if text or encoding or errors else None
        self._errors = errors or "strict"
        if input is not None and stdin != DEVNULL:
            raise UsageError("stdin and input may not both be used")
        if isinstance(input, str):
            input = input.encode(self._encoding or "utf-8", self._errors)
        self._input = bytes(input or b"")
        self._bound = in_bytes(max_output, "max_output")
        self._outputs: dict[int, Collected] = {}
        self._kept: list[int] = []
        places = [self._place(number, sink) for number, sink in ((1, stdout), (2, stderr))]
        self.streams = Streams(PIPE if self._input else stdin, *places)

    def _place(self, number: int, sink: Sink) -> Stream:
        if type(sink) is int and sink == PIPE:
            self._outputs[number] = Collected(None)
            self._kept.append(number)
        elif callable(sink) and not hasattr(sink, "fileno"):
            self._outputs[number] = Collected(sink)
            return PIPE
        return sink

    def exchange(self, process: Process, until: float | None) -> Waiting[str]:
        """Until the process has ended; it is killed when its time is over, or its output too much. Which of these it
        was, "timeout" or "output", or "" if it ended by itself."""
        # A callback may take any amount: only what is kept has a bound.
        bound = self._bound if self._kept else 1 << 62
        cut = yield from exchange(process, self.streams, self._input, self._outputs, bound, until)
        if cut:
            try:
                process.kill(9)
            except StateError:
                pass
            yield from process.waiting()
        return cut

    def output(self, number: int) -> Any:
        """What was kept of stdout (1) or stderr (2), None when nothing was to be.

        :raises UnicodeDecodeError: it is no text
        """
        if number not in self._kept:
            return None
        data = self._outputs[number].bytes()[: self._bound]
        if self._encoding is None:
            return data
        return data.decode(self._encoding, self._errors)
