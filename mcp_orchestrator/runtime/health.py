"""Asking every part whether it works; what `doctor` prints and the tool `health` returns."""

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from pydantic import BaseModel, Field

from mcp_orchestrator import __version__
from mcp_orchestrator.agents import Model
from mcp_orchestrator.codeloop import NO_PROVIDER_REMEDY
from mcp_orchestrator.errors import OrchestratorError
from mcp_orchestrator.packs import Pack
from mcp_orchestrator.runtime.runtime import Runtime
from mcp_orchestrator.store.anchors import last_anchor
from mcp_orchestrator.store.data_keys import count_by_master_key
from mcp_orchestrator.store.migrations import current_revision, latest_revision

#: How long one part may take to answer, in seconds.
_PATIENCE: Final = 10.0


class PartHealth(BaseModel):
    """One part: what it runs on, and whether it answers."""

    part: str
    backend: str
    ok: bool
    required: bool = Field(description="Whether the main job cannot run without it.")
    detail: str
    remedy: str = ""


class HealthReport(BaseModel):
    """All parts."""

    version: str
    ok: bool = Field(description="Whether the main job can run.")
    parts: list[PartHealth]


async def examine(runtime: Runtime) -> HealthReport:
    """Ask every part; none is waited for longer than ten seconds."""
    questions = [
        _store, _queue, _sandbox, _reasoning, _code, _spending, _packs, _sign_in, _encryption,
        _audit, _telemetry,
    ]  # fmt: skip
    answers: dict[int, PartHealth] = {}

    async def ask(index: int) -> None:
        answers[index] = await questions[index](runtime)

    async with anyio.create_task_group() as tasks:
        for index in range(len(questions)):
            tasks.start_soon(ask, index)
    parts = [answers[index] for index in range(len(questions))]
    able = all(part.ok for part in parts if part.required)
    return HealthReport(version=__version__, ok=able, parts=parts)


async def _store(runtime: Runtime) -> PartHealth:
    backend = "SQLite" if runtime.database.is_sqlite else "PostgreSQL"

    async def check() -> str:
        revision = await current_revision(runtime.database)
        latest = latest_revision()
        behind = "" if revision == latest else f", but this program knows revision {latest}"
        where = f" at {runtime.settings.data_dir}" if runtime.database.is_sqlite else ""
        return f"schema revision {revision}{behind}{where}"

    return await _answer("store", backend, check, required=True)


async def _queue(runtime: Runtime) -> PartHealth:
    backend = "Redis Streams" if runtime.settings.redis_url else "the store's database"
    return await _answer("queue", backend, runtime.queue.ping, required=True)


async def _sandbox(runtime: Runtime) -> PartHealth:
    async def check() -> str:
        status = await runtime.sandbox.check()
        return (
            f"{status.version}, Python {status.interpreter}; profiles: "
            f"{', '.join(status.profiles)}; holds: {', '.join(status.layers)}"
        )

    return await _answer("sandbox", runtime.sandbox.backend_name, check, required=True)


async def _reasoning(runtime: Runtime) -> PartHealth:
    return await _model("reasoning", runtime.providers.reasoner, runtime)


async def _code(runtime: Runtime) -> PartHealth:
    return await _model("code", runtime.providers.deepseek, runtime)


async def _model(part: str, model: Model | None, runtime: Runtime) -> PartHealth:
    if model is None:
        return PartHealth(
            part=part,
            backend="the client's own model",
            ok=True,
            required=True,
            detail="no key is set: works for clients that offer sampling",
            remedy=NO_PROVIDER_REMEDY,
        )

    async def check() -> str:
        circuit = runtime.providers.circuits[model.provider]()
        return f"{await model.check()}; circuit {circuit.value}"

    return await _answer(part, f"{model.provider} {model.model}", check, required=True)


async def _spending(runtime: Runtime) -> PartHealth:
    async def check() -> str:
        midnight = runtime.clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
        today = await runtime.ledger.totals(since=midnight)
        cost = ", ".join(f"{amount:f} {currency}" for currency, amount in today.cost.items())
        return (
            f"since midnight UTC: {today.calls} calls ({today.failed_calls} failed),"
            f" {today.cached_calls} more from the cache ({today.hit_rate:.0%}),"
            f" {today.tokens} tokens, {cost or 'no cost told'}"
        )

    return await _answer("spending", "the ledger", check, required=False)


async def _packs(runtime: Runtime) -> PartHealth:
    broken = [f"{pack.origin}: {pack.error}" for pack in runtime.packs if pack.error]
    names = [_describe_pack(pack.pack) for pack in runtime.packs if pack.pack]
    return PartHealth(
        part="packs",
        backend="files",
        ok=not broken,
        required=False,
        detail="; ".join(broken) or f"loaded: {', '.join(names) or 'none'}",
        remedy="Mend or remove the file." if broken else "",
    )


def _describe_pack(pack: Pack) -> str:
    found = pack.cache_statistics
    lookups = found.hits + found.misses
    return f"{pack.name} (cache: {found.hit_rate:.0%} of {lookups})" if lookups else pack.name


async def _sign_in(runtime: Runtime) -> PartHealth:
    settings = runtime.settings
    if not settings.auth:
        reach = "one local user" if settings.transport == "stdio" else "everybody who reaches it"
        return PartHealth(
            part="sign-in", backend="none", ok=True, required=False,
            detail=f"{reach} may do everything, at {settings.transport}",
            remedy="Before others can reach it, set auth to token.",
        )  # fmt: skip
    tokens = await runtime.tokens.list_tokens()
    valid = sum(token.is_valid(runtime.clock.now()) for token in tokens)
    issuer = f"; issuer {settings.oauth_issuer}" if "oauth" in settings.auth else ""
    useless = valid == 0 and "oauth" not in settings.auth
    return PartHealth(
        part="sign-in", backend=" and ".join(settings.auth), ok=not useless, required=False,
        detail=f"{valid} valid tokens{issuer}",
        remedy="Make a token with `token create NAME`." if useless else "",
    )  # fmt: skip


async def _encryption(runtime: Runtime) -> PartHealth:
    vault = runtime.vault
    if vault is None:
        return PartHealth(
            part="encryption", backend="none", ok=True, required=False,
            detail="sagas are stored in plain text",
            remedy="Set MCP_ORCHESTRATOR_MASTER_KEY_FILE to encrypt new ones.",
        )  # fmt: skip

    async def check() -> str:
        current = await vault.keys.current_id()
        counts = await count_by_master_key(runtime.database)
        older = sum(count for key, count in counts.items() if key != current)
        rest = f"; {older} under older keys: run `saga rotate-keys`" if older else ""
        return f"{counts.get(current, 0)} sagas under master key {current}{rest}"

    return await _answer("encryption", "AES-256-GCM", check, required=False)


async def _audit(runtime: Runtime) -> PartHealth:
    if runtime.anchor_key is None:
        return PartHealth(
            part="audit", backend="hash chains", ok=True, required=False,
            detail="no anchors are signed",
            remedy="Set MCP_ORCHESTRATOR_AUDIT_KEY_FILE to have whole sagas missed, too.",
        )  # fmt: skip

    async def check() -> str:
        last = await last_anchor(runtime.database)
        every = f"every {runtime.settings.audit_anchor_seconds:g} s"
        if last is None:
            return f"signed {every}; nothing is anchored yet"
        when = last["created_at"].isoformat(timespec="seconds")
        return f"signed {every}; event {last['last_id']} and all before it at {when}"

    return await _answer("audit", "hash chains, signed anchors", check, required=False)


async def _telemetry(runtime: Runtime) -> PartHealth:
    settings = runtime.settings
    metrics = "metrics at /metrics" if settings.transport != "stdio" else "no metrics"
    if settings.metrics_port is not None:
        metrics = f"metrics on port {settings.metrics_port} of {settings.metrics_host}"
    traces = f"traces to {settings.otlp_endpoint}" if settings.otlp_endpoint else "no traces"
    return PartHealth(
        part="telemetry", backend=f"{settings.log_format} logs on stderr", ok=True, required=False,
        detail=f"{traces}; {metrics}",
        remedy="" if settings.otlp_endpoint else "Set OTEL_EXPORTER_OTLP_ENDPOINT for traces.",
    )  # fmt: skip


async def _answer(
    part: str, backend: str, check: Callable[[], Awaitable[str]], *, required: bool
) -> PartHealth:
    detail, remedy, ok = "", "", False
    try:
        with anyio.fail_after(_PATIENCE):
            detail = await check()
        ok = True
    except TimeoutError:
        detail = f"no answer within {_PATIENCE:.0f} s"
        remedy = "Look whether it is running and reachable."
    except OrchestratorError as error:
        detail, remedy = error.message, error.remedy
    except Exception as error:  # a diagnosis must not die of what it diagnoses
        detail = f"{type(error).__name__}: {error}"
        remedy = "Run again with --log-level DEBUG and look at the log."
    return PartHealth(
        part=part, backend=backend, ok=ok, required=required, detail=detail, remedy=remedy
    )
