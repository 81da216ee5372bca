"""A real HTTP server on loopback that answers in the providers' documented shapes.

It is raw on purpose: a test decides each byte, when it is sent, and when the connection is cut.
"""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

Json = dict[str, object]


@dataclass(frozen=True)
class Received:
    """One request, as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: Json

    @property
    def prompt(self) -> str:
        """Everything that was said, in whichever protocol."""
        said = self.body.get("messages") or self.body.get("input") or ""
        if isinstance(said, str):
            return said
        return "\n".join(str(message["content"]) for message in cast("list[Json]", said))


@dataclass
class Answer:
    """What to send back, piece by piece.

    Args:
        status: the HTTP status.
        pieces: sent one by one.
        headers: besides the customary ones.
        wait: awaited before the status line is sent.
        before_piece: awaited before each piece.
        cut: break the connection after the pieces instead of ending the answer.
        drop: break the connection without a word.
    """

    status: int = 200
    pieces: Iterable[bytes] = (b"{}",)
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    wait: Callable[[], Awaitable[object]] | None = None
    before_piece: Callable[[], Awaitable[object]] | None = None
    cut: bool = False
    drop: bool = False


Responder = Callable[[Received], Answer]


class ProviderServer:
    """A running server: what it was asked, who hung up, and what it answers.

    ``respond`` is called for every request; ``queue`` puts answers in front of it.
    """

    def __init__(self, base_url: str, respond: Responder) -> None:
        self.base_url = base_url
        self.respond = respond
        self.requests: list[Received] = []
        self.hang_ups = 0
        self.hung_up = anyio.Event()
        self.asked = anyio.Event()
        self._queued: list[Answer] = []

    def queue(self, *answers: Answer) -> None:
        """Answer the next requests with these, one each."""
        self._queued.extend(answers)

    def count(self, method: str = "POST", path: str = "") -> int:
        """Count the requests whose path ends like this."""
        return sum(it.method == method and it.path.endswith(path) for it in self.requests)

    def answer(self, received: Received) -> Answer:
        """Note a request and choose its answer."""
        self.requests.append(received)
        self.asked.set()
        return self._queued.pop(0) if self._queued else self.respond(received)

    async def serve(self, stream: SocketStream) -> None:
        """Answer the requests of one connection, one after another."""
        async with stream:
            reader = BufferedByteReceiveStream(stream)
            try:
                while await self._serve_one(stream, reader):
                    pass
            except (anyio.IncompleteRead, anyio.EndOfStream, anyio.ClosedResourceError):
                return
            except anyio.BrokenResourceError:
                self._note_hang_up()

    async def _serve_one(self, stream: SocketStream, reader: BufferedByteReceiveStream) -> bool:
        received = await _receive(reader)
        answer = self.answer(received)
        gone = anyio.Event()
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                try:
                    await reader.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                    gone.set()
                    self._note_hang_up()
                    tasks.cancel_scope.cancel()

            tasks.start_soon(watch)
            try:
                await _send(stream, answer)
            except anyio.BrokenResourceError:  # whoever asked was killed while we answered
                gone.set()
            tasks.cancel_scope.cancel()
        return not (answer.cut or answer.drop or gone.is_set())

    def _note_hang_up(self) -> None:
        self.hang_ups += 1
        self.hung_up.set()


@asynccontextmanager
async def provider_server(respond: Responder | None = None) -> AsyncGenerator[ProviderServer]:
    """Run a server; by default it answers every chat completion with ``"ok"``."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    port = listener.extra(SocketAttribute.local_port)
    server = ProviderServer(f"http://127.0.0.1:{port}", respond or says("ok"))
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, server.serve)
        yield server
        tasks.cancel_scope.cancel()


async def _receive(reader: BufferedByteReceiveStream) -> Received:
    head = (await reader.receive_until(b"\r\n\r\n", 65536)).decode()
    first, *lines = head.split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    length = int(headers.get("content-length", "0"))
    content = await reader.receive_exactly(length) if length else b"{}"
    return Received(method, path, headers, cast("Json", json.loads(content)))


async def _send(stream: SocketStream, answer: Answer) -> None:
    if answer.wait is not None:
        await answer.wait()
    if answer.drop:
        return
    lines = [f"HTTP/1.1 {answer.status} Status", "Transfer-Encoding: chunked"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    await stream.send("\r\n".join([*lines, "", ""]).encode())
    for piece in answer.pieces:
        if answer.before_piece is not None:
            await answer.before_piece()
        await stream.send(b"%x\r\n%s\r\n" % (len(piece), piece))
    if not answer.cut:
        await stream.send(b"0\r\n\r\n")


def says(text: str) -> Responder:
    """Answer in the protocol that was asked: chat completions (streamed or not) or Agent API."""

    def respond(received: Received) -> Answer:
        if received.path.endswith("/responses"):
            return reply(agent_run(text))
        if received.path.endswith("/models"):
            return reply({"object": "list", "data": [{"id": "deepseek-flash"}]})
        if received.body.get("stream"):
            return events(*chat_chunks(text))
        return reply(chat_completion(text))

    return respond


def reply(body: Json, status: int = 200, **headers: str) -> Answer:
    """Answer with a JSON object; header names are given with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(
        status, (json.dumps(body).encode(),), {"Content-Type": "application/json", **named}
    )


def raw(*pieces: bytes, status: int = 200, cut: bool = False) -> Answer:
    """Answer with these very bytes."""
    return Answer(status, pieces, cut=cut)


def events(*chunks: Json, done: bool = True, cut: bool = False) -> Answer:
    """Answer with server-sent events, padded as a busy provider pads them."""
    pieces = [b": keep-alive\n\n", b"\n"]
    pieces += [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks]
    if done:
        pieces.append(b"data: [DONE]\n\n")
    return Answer(200, pieces, {"Content-Type": "text/event-stream"}, cut=cut)


def chat_completion(text: str, *, reasoning: str | None = None, **usage: int) -> Json:
    """A chat completion in DeepSeek's shape."""
    counts = {"input": 12, "output": 34, "cached": 4, "reasoning": 5} | usage
    return {
        "id": "chat-1", "object": "chat.completion", "model": "deepseek-flash",
        "choices": [{
            "index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": text, "reasoning_content": reasoning},
        }],
        "usage": {
            "prompt_tokens": counts["input"], "completion_tokens": counts["output"],
            "total_tokens": counts["input"] + counts["output"],
            "prompt_tokens_details": {"cached_tokens": counts["cached"]},
            "prompt_cache_hit_tokens": counts["cached"],
            "prompt_cache_miss_tokens": counts["input"] - counts["cached"],
            "completion_tokens_details": {"reasoning_tokens": counts["reasoning"]},
        },
    }  # fmt: skip


def chat_chunks(text: str, *, reasoning: str = "") -> list[Json]:
    """The same, streamed word by word."""

    def chunk(delta: Json, finish: str | None = None) -> Json:
        return {
            "id": "chat-1", "object": "chat.completion.chunk", "model": "deepseek-flash",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }  # fmt: skip

    whole = chat_completion(text)
    chunks = [chunk({"role": "assistant", "content": ""})]
    chunks += [chunk({"reasoning_content": f"{word} "}) for word in reasoning.split()]
    chunks += [chunk({"content": part}) for part in text.splitlines(keepends=True)]
    return [*chunks, chunk({}, "stop"), {**chunk({}), "choices": [], "usage": whole["usage"]}]


def sonar_completion(text: str) -> Json:
    """A chat completion in Perplexity's shape."""
    return {
        "id": "sonar-1", "model": "sonar-pro", "object": "chat.completion",
        "choices": [{
            "index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text},
        }],
        "citations": ["https://example.org/a"],
        "search_results": [{
            "title": "A", "url": "https://example.org/a", "date": "2026-11-01",
            "last_updated": "2026-11-02", "snippet": "about a", "source": "web",
        }],
        "usage": {
            "prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30,
            "citation_tokens": 5, "num_search_queries": 1, "reasoning_tokens": 3,
            "search_context_size": "low",
            "cost": {"input_tokens_cost": 0.001, "output_tokens_cost": 0.002,
                     "request_cost": 0.005, "total_cost": 0.008},
        },
    }  # fmt: skip


def agent_run(text: str = "", *, run_id: str = "resp_1", status: str = "completed") -> Json:
    """A run of Perplexity's Agent API."""
    finished: list[Json] = [
        {"type": "search_results", "queries": ["a"], "results": [
            {"id": 1, "title": "A", "url": "https://example.org/a", "snippet": "about a",
             "date": "2026-11-01"},
            {"id": 2, "title": "B", "url": "https://example.org/b", "snippet": "about b"},
        ]},
        {"type": "message", "role": "assistant", "status": "completed", "id": "msg_1", "content": [
            {"type": "output_text", "text": text, "annotations": [
                {"type": "url_citation", "url": "https://example.org/a", "title": "A",
                 "start_index": 0, "end_index": 1},
            ]},
        ]},
    ]  # fmt: skip
    run: Json = {
        "id": run_id, "object": "response", "status": status, "model": "some/model",
        "output": finished if status == "completed" else [], "error": None, "usage": None,
    }  # fmt: skip
    if status == "completed":
        run["usage"] = {
            "input_tokens": 100, "output_tokens": 50, "total_tokens": 150,
            "cost": {"currency": "USD", "input_cost": 0.001, "output_cost": 0.002,
                     "tool_calls_cost": 0.005, "total_cost": 0.008},
            "tool_calls_details": {"web_search": {"invocation": 1}},
        }  # fmt: skip
    return run
