"""A TCP proxy before PostgreSQL that cuts a connection at a chosen COMMIT."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import Enum

#: How the driver says it: a simple query.
_COMMIT = b"COMMIT;\x00"


class Cut(Enum):
    """When a connection is cut."""

    BEFORE_COMMIT = "before"
    AFTER_COMMIT = "after"


@dataclass
class CuttingProxy:
    """Passes bytes on; ``cut_at`` the so-manieth COMMIT from now on it cuts that connection.

    Attributes:
        server_port: where PostgreSQL listens on this machine.
        port: where the proxy does.
        commits: how many have been asked for.
        cut_at: at which of them to cut; 0 for none.
        side: before PostgreSQL hears of it, or after it has done it and before the answer.
        was_cut: whether it has been.
    """

    server_port: int
    port: int = 0
    commits: int = 0
    cut_at: int = 0
    side: Cut = Cut.AFTER_COMMIT
    was_cut: bool = False

    def arm(self, cut_at: int, side: Cut) -> None:
        """Count anew, and cut once."""
        self.commits, self.cut_at, self.side, self.was_cut = 0, cut_at, side, False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on until either side ends it, or it is cut."""
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self.server_port)
        answers = asyncio.create_task(_pass_on(from_server, writer))
        try:
            with suppress(ConnectionError):  # either side may end it so
                await self._pass_commits(reader, from_server, to_server, answers)
        finally:
            answers.cancel()
            for end in (writer, to_server):
                end.transport.abort()

    async def _pass_commits(
        self,
        reader: asyncio.StreamReader,
        from_server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
        answers: "asyncio.Task[None]",
    ) -> None:
        while data := await reader.read(65536):
            self.commits += _COMMIT in data
            cut = _COMMIT in data and self.commits == self.cut_at
            if cut and self.side is Cut.AFTER_COMMIT:
                answers.cancel()
                await asyncio.wait([answers])
                to_server.write(data)
                await from_server.read(1)  # PostgreSQL answers once it is on disk
            if cut:
                self.was_cut = True
                return
            to_server.write(data)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


@asynccontextmanager
async def cutting_proxy(server_port: int) -> AsyncGenerator[CuttingProxy]:
    """Listen on a free port of this machine."""
    proxy = CuttingProxy(server_port)
    listening = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = listening.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listening.close()
