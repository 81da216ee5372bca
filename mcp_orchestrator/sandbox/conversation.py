"""One request on one worker: send it, gather what comes back, hold the deadline."""

import marshal
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
from pydantic import ValidationError

from mcp_orchestrator.clock import Clock
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
    outcome: GuestOutcome | None = None
    overdue: bool = False

    def output(self, *, errors: bool) -> tuple[str, bool]:
        """Return one output as text, head and tail, and whether its middle was left out."""
        head, tail = (self.stderr, self.stderr_tail) if errors else (self.stdout, self.stdout_tail)
        kept = len(head) + len(tail)
        total = kept
        if self.outcome is not None:
            total = self.outcome.stderr_bytes if errors else self.outcome.stdout_bytes
        left_out = total - kept
        if left_out <= 0:
            return (bytes(head) + tail).decode("utf-8", "replace"), False
        gap = f"\n… {left_out} bytes left out …\n"
        return head.decode("utf-8", "replace") + gap + tail.decode("utf-8", "replace"), True


async def converse(
    worker: Worker,
    request: dict[str, object],
    *,
    wall_seconds: float,
    output_bytes: int,
    clock: Clock,
    listener: OutputListener | None = None,
) -> Transcript:
    """Have a worker carry out its one request.

    Args:
        worker: a worker that waits.
        request: what the guest's supervisor expects.
        wall_seconds: the program's time; the host waits a little longer.
        output_bytes: no more than this is kept of each output, whatever the guest sends.
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
        await _listen(worker, transcript, output_bytes, listener)
        tasks.cancel_scope.cancel()
    return transcript


def _request_frame(request: dict[str, object]) -> bytes:
    return frames.pack(frames.REQUEST, marshal.dumps(request, frames.MARSHAL_VERSION))


async def _listen(
    worker: Worker, transcript: Transcript, most: int, listener: OutputListener | None
) -> None:
    reader = frames.FrameReader()
    while data := await worker.receive():
        try:
            for kind, payload in reader.feed(data):
                _take(transcript, kind, payload, most, listener)
        except (frames.FrameError, ValidationError, ValueError):
            return  # not the supervisor's words: the run has no outcome
        if transcript.outcome is not None:
            return


def _take(
    transcript: Transcript, kind: bytes, payload: bytes, most: int, listener: OutputListener | None
) -> None:
    if kind in {frames.STDOUT, frames.STDERR}:
        target = transcript.stdout if kind == frames.STDOUT else transcript.stderr
        target += payload[: most - len(target)]
        if listener is not None:
            stream = "stdout" if kind == frames.STDOUT else "stderr"
            listener(stream, payload.decode("utf-8", "replace"))
    elif kind == frames.STDOUT_TAIL:
        transcript.stdout_tail = payload[:most]
    elif kind == frames.STDERR_TAIL:
        transcript.stderr_tail = payload[:most]
    elif kind == frames.REPORT:
        transcript.report += payload[: _LONGEST_REPORT - len(transcript.report)]
    elif kind == frames.FINAL:
        transcript.outcome = GuestOutcome.model_validate_json(payload)
