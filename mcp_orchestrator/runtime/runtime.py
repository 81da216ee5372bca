"""Building the parts in order, running the background work, closing in reverse."""

import itertools
import logging
import os
import secrets
import socket
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import anyio
from anyio import to_thread
from prometheus_client import CollectorRegistry

from mcp_orchestrator.agents import ProviderMetrics, SamplingMailbox, SamplingModel
from mcp_orchestrator.clock import Clock, SystemClock
from mcp_orchestrator.codeloop import CodeLoop, Deliveries, Roles
from mcp_orchestrator.errors import OrchestratorError, SandboxUnavailableError
from mcp_orchestrator.packs import LoadedPack, Registry, load_packs
from mcp_orchestrator.packs.loader import pack_folders
from mcp_orchestrator.queue import (
    QueueMetrics,
    Scheduler,
    SignalRouter,
    TaskHandler,
    TaskQueue,
    Worker,
)
from mcp_orchestrator.runtime.anchoring import anchor_for_ever
from mcp_orchestrator.runtime.encryption import open_vault, read_anchor_key
from mcp_orchestrator.runtime.handlers import chosen_handlers, sandbox_handler
from mcp_orchestrator.runtime.model_names import check_model_name
from mcp_orchestrator.runtime.no_sandbox import NoBackend
from mcp_orchestrator.runtime.parts import build_queue, open_store
from mcp_orchestrator.runtime.providers import ProviderFactory, Providers
from mcp_orchestrator.runtime.queue_step import QUEUE_STEP, queue_action
from mcp_orchestrator.runtime.serving import Serving, open_serving
from mcp_orchestrator.runtime.signals import SagasOfSignals
from mcp_orchestrator.runtime.store_metrics import StoreMetrics
from mcp_orchestrator.saga import SagaEngine, SagaMetrics
from mcp_orchestrator.sandbox import Profiles, RiskPolicy, Sandbox, SandboxMetrics, open_sandbox
from mcp_orchestrator.settings import Settings
from mcp_orchestrator.store.anchors import AnchorKey
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.ledger import Ledger
from mcp_orchestrator.store.runs import RunStore
from mcp_orchestrator.store.tokens import TokenStore
from mcp_orchestrator.store.vault import SagaVault
from mcp_orchestrator.telemetry.exporting import open_tracing
from mcp_orchestrator.telemetry.tracing import Tracing

_log = logging.getLogger(__name__)
#: The question that the client's model is asked stays free for whoever asks next: a stateless
#: client answers in another request than the one that saw it.
_NO_CLAIM = 0.0
#: How often the queue's gauges are set and interrupted signals looked for, in seconds.
_GAUGES_EVERY, _SIGNALS_EVERY = 5, 60
#: How long the last spans may take to be sent at the end, in seconds.
_LAST_SPANS = 2.0


@dataclass(frozen=True)
class Runtime:
    """Every part of the program, ready to use."""

    settings: Settings
    clock: Clock
    database: Database
    committer: GroupCommitter
    registry: Registry
    packs: list[LoadedPack]
    queue: TaskQueue
    worker: Worker
    signals: SignalRouter
    schedules: Scheduler
    sagas: SagaEngine
    sandbox: Sandbox
    providers: Providers
    roles: Roles
    mailbox: SamplingMailbox
    ledger: Ledger
    deliveries: Deliveries
    metrics: CollectorRegistry
    runs: RunStore
    tokens: TokenStore
    vault: SagaVault | None
    anchor_key: AnchorKey | None
    tracing: Tracing
    store_metrics: StoreMetrics
    serving: Serving

    def offer_handler(self, task_type: str, handler: TaskHandler) -> bool:
        """Let this process's worker run tasks of a type that only a floor above can run.

        Nobody can add such tasks by name, since the registry does not know the type.

        Returns:
            Whether this process works on them: it has a worker, and the settings choose the type.
        """
        chosen = chosen_handlers({task_type: handler}, self.settings.worker_types)
        self.worker.add_handlers(chosen)
        return self.settings.embedded_worker and bool(chosen)


@asynccontextmanager
async def open_runtime(
    settings: Settings, *, background: bool = True, clock: Clock | None = None
) -> AsyncGenerator[Runtime]:
    """Build all parts; close them in reverse when the block ends.

    Args:
        settings: from ``load_settings``.
        background: run sagas and, unless the settings say otherwise, queued tasks in here.
        clock: the machine's own by default.

    Raises:
        ConfigurationError: a setting is wrong.
        BackendUnavailableError: the database or Redis does not answer.
    """
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        runtime = await _build(settings, clock, stack)
        if not background:
            yield runtime
            return
        await _follow_signals_for_packs(runtime)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runtime.sagas.run)
            tasks.start_soon(_tend_queue, runtime)
            tasks.start_soon(runtime.sandbox.tend)
            if runtime.anchor_key is not None:
                tasks.start_soon(_anchor, runtime, runtime.anchor_key)
            if settings.audit_verify_seconds:
                tasks.start_soon(_verify, runtime)
            if settings.embedded_worker:
                tasks.start_soon(runtime.worker.run)
            if runtime.providers.deepseek is not None and settings.replay_providers is None:
                tasks.start_soon(check_model_name, runtime.providers.deepseek)
            yield runtime
            tasks.cancel_scope.cancel()


async def _build(settings: Settings, clock: Clock, stack: AsyncExitStack) -> Runtime:
    database, committer = await stack.enter_async_context(open_store(settings))
    metrics = CollectorRegistry()
    tracing = await _open_tracing(settings, stack)
    queue = await stack.enter_async_context(
        build_queue(settings, database, committer, clock, QueueMetrics(metrics))
    )
    ledger = Ledger(database, committer, clock)
    mailbox = SamplingMailbox(database, committer, clock, claim=_NO_CLAIM)
    factory = ProviderFactory(
        settings, database=database, committer=committer, ledger=ledger, clock=clock, stack=stack,
        metrics=ProviderMetrics(metrics), tracing=tracing,
    )  # fmt: skip
    providers = await factory.build()
    runs = RunStore(database, committer)
    sandbox = await _open_sandbox(settings, runs, clock, SandboxMetrics(metrics), tracing)
    stack.push_async_callback(sandbox.close)
    roles = Roles(
        configured_reasoner=providers.reasoner,
        configured_coder=providers.deepseek,
        sampling=lambda scope: SamplingModel(
            mailbox, scope, timeout=settings.sampling_timeout_seconds
        ),
    )
    deliveries = Deliveries(settings.data_dir / "loops")
    registry = Registry()
    CodeLoop(
        roles,
        sandbox,
        deliveries,
        concurrency=settings.loop_concurrency,
        approval_risk=settings.loop_approval_risk,
        clock=clock,
    ).register(registry)
    registry.add_handler("sandbox.execute", sandbox_handler(sandbox))
    registry.add_action(QUEUE_STEP, queue_action(queue))
    packs = load_packs(pack_folders(settings.packs), registry, settings.data_dir)
    vault = open_vault(settings, clock)
    sagas = SagaEngine(
        database,
        committer,
        registry,
        runner_id=_runner_id(),
        lease_seconds=settings.saga_lease_seconds,
        max_concurrent=settings.saga_max_concurrent,
        max_takeovers=settings.saga_max_takeovers,
        metrics=SagaMetrics(metrics),
        clock=clock,
        vault=vault,
        tracing=tracing,
    )
    worker = Worker(
        queue,
        chosen_handlers(registry.handlers, settings.worker_types),
        concurrency=settings.worker_concurrency,
        grace_seconds=settings.grace_seconds,
        clock=clock,
        tracing=tracing,
    )
    signals = SignalRouter(
        queue,
        database,
        committer,
        sagas=SagasOfSignals(sagas),
        check_task=registry.check_task,
        clock=clock,
    )
    schedules = Scheduler(queue, database, committer, clock=clock)
    return Runtime(
        settings, clock, database, committer, registry, packs, queue, worker, signals, schedules,
        sagas, sandbox, providers, roles, mailbox, ledger, deliveries, metrics, runs,
        TokenStore(database, committer, clock),
        vault, read_anchor_key(settings), tracing,
        StoreMetrics(metrics, database, clock),
        await open_serving(database, committer, clock),
    )  # fmt: skip


async def _follow_signals_for_packs(runtime: Runtime) -> None:
    """Write down the rules that packs bring, those that are not there yet as they are."""
    known = {rule.name: rule for rule in await runtime.signals.list_rules()}
    for pack in (loaded.pack for loaded in runtime.packs if loaded.pack):
        for rule in pack.rules:
            if known.get(rule.name) != rule:
                await runtime.signals.add_rule(rule)


async def _anchor(runtime: Runtime, key: AnchorKey) -> None:
    every = runtime.settings.audit_anchor_seconds
    await anchor_for_ever(runtime.database, runtime.committer, key, runtime.clock, every=every)


async def _verify(runtime: Runtime) -> None:
    every = runtime.settings.audit_verify_seconds
    await runtime.store_metrics.verify_for_ever(every=every)


async def _tend_queue(runtime: Runtime) -> None:
    """Fire schedules, show how the queue stands, finish interrupted signals; for ever."""
    for second in itertools.count():
        try:
            await runtime.schedules.fire_due()
            if second % _GAUGES_EVERY == 0:
                await runtime.queue.stats()
                await runtime.store_metrics.show_sagas()
            if second % _SIGNALS_EVERY == 0:
                await runtime.signals.tend()
        except OrchestratorError:
            _log.warning("The queue could not be tended; trying again.", exc_info=True)
        await runtime.clock.sleep(1)


async def _open_tracing(settings: Settings, stack: AsyncExitStack) -> Tracing:
    tracing, send_the_rest = open_tracing(settings.otlp_endpoint)

    async def close() -> None:
        with anyio.move_on_after(_LAST_SPANS, shield=True):
            await to_thread.run_sync(send_the_rest, abandon_on_cancel=True)

    stack.push_async_callback(close)
    return tracing


async def _open_sandbox(
    settings: Settings, runs: RunStore, clock: Clock, metrics: SandboxMetrics, tracing: Tracing
) -> Sandbox:
    """Open the sandbox; where there is none the server still starts, and refuses every run."""
    try:
        return await open_sandbox(
            settings.sandbox,
            docker_host=settings.docker_host,
            image=settings.sandbox_image,
            profiles=Profiles(settings.sandbox_profiles, tuple(settings.sandbox_preload)),
            environments_folder=settings.sandbox_environments,
            runtime=settings.sandbox_runtime,
            nursery=settings.sandbox_nursery,
            keep_files=timedelta(days=settings.sandbox_keep_days),
            warm=settings.sandbox_warm,
            concurrency=settings.sandbox_concurrency,
            risk_policy=RiskPolicy(settings.sandbox_risk_strict, settings.sandbox_risk_refuse),
            sessions=settings.sandbox_sessions,
            session_idle_seconds=settings.sandbox_session_idle_seconds,
            runs=runs,
            metrics=metrics,
            clock=clock,
            tracing=tracing,
        )
    except SandboxUnavailableError as error:
        _log.warning("No sandbox: %s", error)
        return Sandbox(NoBackend(error), clock=clock, risk_policy=RiskPolicy(), warm=0)


def _runner_id() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
