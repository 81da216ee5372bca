"""A process that runs sagas until it is killed; what its actions do is written to a file.

Usage: python -m tests.chaos.saga_process DATABASE_URL EFFECTS_FILE LEASE_SECONDS FUSE

With a fuse of n it kills itself, by SIGKILL, at its n-th effect; with 0 it does not.
"""

import os
import signal
import sys
import uuid
from functools import partial

import anyio

from mcp_orchestrator.errors import BusinessRefusalError, UnknownNameError
from mcp_orchestrator.saga import Action, JsonObject, JsonValue, SagaEngine, StepHandle
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import open_engine


class Outside:
    """The world that sagas change: one line for each effect, kept when the process is killed.

    Args:
        path: the file of effects; what lingers or blocks waits for ``PATH.gate`` to be there.
        fuse: at which effect the process kills itself; 0 for never.
    """

    def __init__(self, path: str, fuse: int = 0) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._gate = f"{path}.gate"
        self._fuse = fuse

    def write(self, *words: object) -> None:
        os.write(self._file, (" ".join(str(word) for word in words) + "\n").encode())
        self._fuse -= 1
        if self._fuse == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def action(self, name: str) -> Action:
        action = getattr(self, name, None)
        if name not in self.names() or action is None:
            raise UnknownNameError("action", name, self.names())
        return action

    def names(self) -> list[str]:
        return ["act", "undo", "buy", "refuse", "fail", "block", "linger"]

    async def act(self, arguments: JsonObject, handle: StepHandle) -> JsonValue:
        await anyio.sleep(0.002)
        self.write("did", handle.saga_id, handle.step_name)
        await anyio.sleep(0.002)
        return handle.idempotency_key

    async def undo(self, arguments: JsonObject, handle: StepHandle) -> JsonValue:
        await anyio.sleep(0.002)
        self.write("undid", handle.saga_id, handle.step_name)
        await anyio.sleep(0.002)
        return None

    async def buy(self, arguments: JsonObject, handle: StepHandle) -> JsonValue:
        async def pay(name: str) -> JsonValue:
            receipt = uuid.uuid4().hex
            self.write("paid", handle.saga_id, name, receipt)
            return receipt

        for name in ("first", "second"):
            await handle.memo(name, partial(pay, name))
        self.write("did", handle.saga_id, handle.step_name)
        return None

    async def refuse(self, arguments: JsonObject, handle: StepHandle) -> JsonValue:
        raise BusinessRefusalError("no")

    async def fail(self, arguments: JsonObject, handle: StepHandle) -> JsonValue:
        if handle.attempt < 2:
            raise OSError("hiccup")
        return await self.act(arguments, handle)

    async def block(self, arguments: JsonObject, handle: StepHandle) -> JsonValue:
        """Keep the event loop from all else, computing.

        It computes for longer than the interpreter's switch interval between looks at the gate:
        a loop that lets go of the interpreter's lock more often, and wants it back at once,
        starves every other thread, and that is not what is tested here.
        """
        self.write("blocking", handle.saga_id, handle.step_name)
        while not os.path.exists(self._gate):  # noqa: ASYNC240, PTH110 - the event loop stands still
            for _ in range(10_000):
                sum(range(1_000))
        self.write("did", handle.saga_id, handle.step_name)
        return None

    async def linger(self, arguments: JsonObject, handle: StepHandle) -> JsonValue:
        self.write("lingering", handle.saga_id, handle.step_name)
        while not await anyio.Path(self._gate).exists():  # noqa: ASYNC110 - a test opens it
            await anyio.sleep(0.01)
        self.write("did", handle.saga_id, handle.step_name)
        return None


async def main(url: str, effects: str, lease: str, fuse: str) -> None:
    database = open_engine(url)
    async with GroupCommitter(database) as committer:
        engine = SagaEngine(
            database, committer, Outside(effects, int(fuse)), runner_id=f"p{os.getpid()}",
            lease_seconds=float(lease), max_concurrent=20,
        )  # fmt: skip
        await engine.run()


if __name__ == "__main__":
    url_given, effects_given, lease_given, fuse_given = sys.argv[1:]
    anyio.run(main, url_given, effects_given, lease_given, fuse_given)
