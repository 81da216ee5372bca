"""One request on one worker: send it, gather what comes back, hold the deadline."""

import marshal
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
from pydantic import ValidationError

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.sandbox.artifacts import ArtifactIntake
from mcp_orchestrator.sandbox.guest import frames
from mcp_orchestrator.sandbox.outcome import GuestOutcome
from mcp_orchestrator.sandbox.port import Worker

#: What the guest is given beyond the program's own time before the host ends it.
GRACE_SECONDS = 0.75
_LONGEST_REPORT = 8 * 1024 * 1024

#: Called with ``"stdout"`` or ``"stderr"`` and a piece of text as it comes.
OutputListener = Callable[[str, str], None]


@dataclass
class Transcript:
    """Everything a guest said about one run."""

    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    stdout_tail: bytes = b""
    stderr_tail: bytes = b""
    report: bytearray = field(default_factory=bytearray)
    intake: ArtifactIntake = field(default_factory=ArtifactIntake)
    outcome: GuestOutcome | None = None
    overdue: bool = False

    def output(self, most: int, *, errors: bool) -> tuple[str, bool]:
        """Return one output as text, head and tail, and whether its middle was left out.

        Args:
            most: how many bytes are shown.
            errors: stderr, not stdout.
        """
        data, total = self._received(errors=errors)
        if total <= most and total == len(data):
            return data.decode("utf-8", "replace"), False
        tail = min(most // 2, len(data))
        head = min(most - tail, len(data) - tail)
        return _with_gap(data[:head], total - head - tail, data[len(data) - tail :]), True

    def whole(self, *, errors: bool) -> bytes:
        """Return all of one output that was received, with a note where something is missing."""
        data, total = self._received(errors=errors)
        if total == len(data):
            return data
        tail = len(self.stderr_tail if errors else self.stdout_tail)
        head = len(data) - tail
        return _with_gap(data[:head], total - len(data), data[head:]).encode()

    def _received(self, *, errors: bool) -> tuple[bytes, int]:
        head, tail = (self.stderr, self.stderr_tail) if errors else (self.stdout, self.stdout_tail)
        data = bytes(head) + tail
        if self.outcome is None:
            return data, len(data)
        return data, self.outcome.stderr_bytes if errors else self.outcome.stdout_bytes


def _with_gap(head: bytes, left_out: int, tail: bytes) -> str:
    gap = f"\n… {left_out} bytes left out …\n"
    return head.decode("utf-8", "replace") + gap + tail.decode("utf-8", "replace")


async def converse(
    worker: Worker,
    request: dict[str, object],
    *,
    wall_seconds: float,
    output_bytes: int,
    whole_bytes: int,
    clock: Clock,
    listener: OutputListener | None = None,
) -> Transcript:
    """Have a worker carry out its one request.

    Args:
        worker: a worker that waits.
        request: what the guest's supervisor expects.
        wall_seconds: the program's time; the host waits a little longer.
        output_bytes: no more than this of each output is told to the listener.
        whole_bytes: no more than this is kept of each output, whatever the guest sends.
        clock: for the host's own deadline.
        listener: is told of output as it comes.

    Returns:
        What was said; without an outcome when the guest ended before it could give one.
    """
    transcript = Transcript()

    async with anyio.create_task_group() as tasks:

        async def end_when_overdue() -> None:
            await clock.sleep(wall_seconds + GRACE_SECONDS)
            transcript.overdue = True
            tasks.cancel_scope.cancel()

        tasks.start_soon(end_when_overdue)
        await worker.send(_request_frame(request))
        told = _Listening(listener, output_bytes) if listener is not None else None
        await _listen(worker, transcript, whole_bytes, told)
        tasks.cancel_scope.cancel()
    return transcript


def _request_frame(request: dict[str, object]) -> bytes:
    return frames.pack(frames.REQUEST, marshal.dumps(request, frames.MARSHAL_VERSION))


class _Listening:
    """Tells a listener of the first bytes of each output."""

    def __init__(self, listener: OutputListener, most: int) -> None:
        self._listener = listener
        self._left = {"stdout": most, "stderr": most}

    def tell(self, stream: str, payload: bytes) -> None:
        piece = payload[: self._left[stream]]
        if piece:
            self._left[stream] -= len(piece)
            self._listener(stream, piece.decode("utf-8", "replace"))


async def _listen(
    worker: Worker, transcript: Transcript, most: int, listening: _Listening | None
) -> None:
    reader = frames.FrameReader()
    while data := await worker.receive():
        try:
            for kind, payload in reader.feed(data):
                _take(transcript, kind, payload, most, listening)
        except (frames.FrameError, ValidationError, ValueError):
            return  # not the supervisor's words: the run has no outcome
        if transcript.outcome is not None:
            return


def _take(
    transcript: Transcript, kind: bytes, payload: bytes, most: int, listening: _Listening | None
) -> None:
    if kind in {frames.STDOUT, frames.STDERR}:
        target = transcript.stdout if kind == frames.STDOUT else transcript.stderr
        target += payload[: most - len(target)]
        if listening is not None:
            listening.tell("stdout" if kind == frames.STDOUT else "stderr", payload)
    elif kind == frames.STDOUT_TAIL:
        transcript.stdout_tail = payload[:most]
    elif kind == frames.STDERR_TAIL:
        transcript.stderr_tail = payload[:most]
    elif kind == frames.REPORT:
        transcript.report += payload[: _LONGEST_REPORT - len(transcript.report)]
    elif kind == frames.ARTIFACT:
        transcript.intake.feed(payload)
    elif kind == frames.FINAL:
        transcript.outcome = GuestOutcome.model_validate_json(payload)
