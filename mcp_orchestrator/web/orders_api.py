"""What a person can do to a saga over HTTP; each order has a reason, which the audit keeps."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

from pydantic import BaseModel, Field, JsonValue

from mcp_orchestrator.saga import Order
from mcp_orchestrator.server.owned import Workspace
from mcp_orchestrator.web.endpoint import Endpoint, endpoint
from mcp_orchestrator.web.sagas_api import AskSaga, SagaDetail, saga_detail

Values = dict[str, JsonValue]
Asked = TypeVar("Asked", bound=AskSaga)


class OrderBody(AskSaga):
    """An order about a saga."""

    reason: Annotated[str, Field(min_length=1, description="Why; the audit trail keeps it.")]

    @property
    def order(self) -> Order:
        """The order, which is signed with the caller's name later."""
        return Order(self.reason)


class Abort(OrderBody):
    """Stop a saga."""

    compensate: Annotated[bool, Field(description="Undo completed steps first.")] = True


class Retry(OrderBody):
    """Run what is not completed."""

    skip: Values = Field({}, description="Results of steps that count as done.")
    new_input: Values | None = None


class Rewind(OrderBody):
    """Take a saga back to a step."""

    to_step: str
    new_input: Values | None = None


class Fork(OrderBody):
    """Start a new saga from the results of this one."""

    from_step: str
    new_input: Values | None = None


class Resolve(OrderBody):
    """Say that what needed a person is settled."""

    happened: Values = Field({}, description="Results of the steps in flight that did happen.")


class Decide(OrderBody):
    """Approve, or refuse."""

    approval: Annotated[str, Field(description="What the step asks for.")]
    approved: bool = True


class Signal(AskSaga):
    """A signal to a saga."""

    signal: Annotated[str, Field(min_length=1, max_length=200)]
    value: JsonValue = None


class Found(BaseModel):
    """What a probe found about one step."""

    step: str
    believed: str
    happened: Annotated[bool | None, Field(description="null: the probe failed.")]
    agrees: bool
    error: str | None


class Findings(BaseModel):
    """What the probes found."""

    saga_id: str
    findings: list[Found]


def order_endpoints(workspace: Workspace) -> list[Endpoint]:
    """Return the endpoints."""
    sagas, hand = workspace.sagas, workspace.sagas.by_hand

    async def abort(asked: Abort) -> SagaDetail:
        view = await sagas.abort(asked.saga_id, asked.reason, compensate=asked.compensate)
        return saga_detail(view)

    async def retry(asked: Retry) -> SagaDetail:
        view = await hand.retry(
            asked.saga_id, asked.order, skip=asked.skip, new_input=asked.new_input
        )
        return saga_detail(view)

    async def compensate(asked: OrderBody) -> SagaDetail:
        return saga_detail(await hand.compensate(asked.saga_id, asked.order))

    async def rewind(asked: Rewind) -> SagaDetail:
        view = await hand.rewind(
            asked.saga_id, asked.order, to_step=asked.to_step, new_input=asked.new_input
        )
        return saga_detail(view)

    async def fork(asked: Fork) -> SagaDetail:
        view = await hand.fork(
            asked.saga_id, asked.order, from_step=asked.from_step, new_input=asked.new_input
        )
        return saga_detail(view)

    async def resolve(asked: Resolve) -> SagaDetail:
        view = await hand.resolve(asked.saga_id, asked.order, happened=asked.happened)
        return saga_detail(view)

    async def reconcile(asked: OrderBody) -> Findings:
        found = await hand.reconcile(asked.saga_id, asked.order)
        lines = [
            Found(
                step=one.step, believed=one.believed, happened=one.happened, agrees=one.agrees,
                error=one.error,
            )
            for one in found
        ]  # fmt: skip
        return Findings(saga_id=asked.saga_id, findings=lines)

    async def approve(asked: Decide) -> SagaDetail:
        await sagas.approve(asked.saga_id, asked.approval, asked.order, approved=asked.approved)
        return saga_detail(await sagas.get(asked.saga_id))

    async def signal(asked: Signal) -> SagaDetail:
        await sagas.signal(asked.saga_id, asked.signal, asked.value)
        return saga_detail(await sagas.get(asked.saga_id))

    return [
        _order("abort", "Stop a saga; what was done is undone.", Abort, SagaDetail, abort),
        _order("retry", "Run what is not completed.", Retry, SagaDetail, retry),
        _order("compensate", "Undo what is completed.", OrderBody, SagaDetail, compensate),
        _order("rewind", "Take it back to a step, and forward again.", Rewind, SagaDetail, rewind),
        _order("fork", "Start another with its results up to a step.", Fork, SagaDetail, fork),
        _order(
            "resolve", "Say that what needed a person is settled.", Resolve, SagaDetail, resolve
        ),
        _order(
            "reconcile",
            "Compare what is stored with what probes find.",
            OrderBody,
            Findings,
            reconcile,
        ),
        _order(
            "approve", "Approve what a step asks for, or refuse it.", Decide, SagaDetail, approve
        ),
        _order("signal", "Send it a signal.", Signal, SagaDetail, signal),
    ]


def _order(
    name: str,
    summary: str,
    asks: type[Asked],
    answers: type[BaseModel],
    handle: Callable[[Asked], Awaitable[BaseModel]],
) -> Endpoint:
    path = f"/sagas/{{saga_id}}/{name}"
    return endpoint(
        "POST", path, summary, toolset="saga", asks=asks, answers=answers, handle=handle
    )
