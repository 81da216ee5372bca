"""Why a saga stands where it stands, what comes next, and a picture of it. Pure."""

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from mcp_orchestrator.saga.states import SagaState, StepState
from mcp_orchestrator.saga.view import SagaView, StepView
from mcp_orchestrator.saga.waits import APPROVAL, WAIT_FOR_SIGNAL


@dataclass(frozen=True, slots=True)
class Explanation:
    """A saga explained to somebody who has to decide about it.

    Attributes:
        why: why it stands where it stands.
        next: what happens next by itself.
        when: when, if it waits for a moment.
        advice: the safe thing to do.
    """

    why: str
    next: str
    when: datetime | None
    advice: str


def explain(view: SagaView) -> Explanation:
    """Explain a saga."""
    if view.held_reason is not None:
        return Explanation(
            f"It is held: {view.held_reason}", "Nothing, until a person decides.", None,
            "Find out whether the step had its effect; then resolve it, or abort the saga.",
        )  # fmt: skip
    if view.needs_person:
        steps = ", ".join(str(task.get("step")) for task in view.needs_person)
        return Explanation(
            f"It is {view.state}: {view.error}", "Nothing.", None,
            f"Put right by hand what is listed for {steps}; then resolve it, or compensate again.",
        )  # fmt: skip
    if view.state is SagaState.COMPLETED:
        return Explanation("Every step is completed.", "Nothing.", None, "There is nothing to do.")
    if view.state.is_finished:
        return Explanation(
            f"It is {view.state}: {view.error}", "Nothing.", None,
            "Everything that was done is undone; retry it once the cause is gone.",
        )  # fmt: skip
    return _of_open(view)


def _of_open(view: SagaView) -> Explanation:
    flying = [step for step in view.steps if step.state.is_in_flight]
    names = ", ".join(repr(step.name) for step in flying)
    if view.state is SagaState.IDLE:
        why, following = "No process has taken it up yet.", "A free process starts it."
    elif view.state is SagaState.COMPENSATING:
        because = f"because: {view.error}" if view.error else "to an earlier step, by hand."
        why, following = f"It goes back {because}", f"It undoes {names}."
    elif view.lease_owner is None and any(_waits_by(view, step, APPROVAL) for step in flying):
        why, following = f"It waits for a person's approval in {names}.", "The person's decision."
    elif view.lease_owner is None and any(
        _waits_by(view, step, WAIT_FOR_SIGNAL) for step in flying
    ):
        why, following = f"It waits for a signal in {names}.", "The signal, or its time-out."
    elif view.lease_owner is None and view.wake_at is not None:
        why, following = f"It sleeps in {names}.", "It wakes and goes on."
    else:
        errors = "; ".join(f"{step.name}: {step.error}" for step in flying if step.error)
        why = f"It runs {names}." + (f" The last attempt failed: {errors}" if errors else "")
        following = "The next step, once this one returns."
    return Explanation(why, following, view.wake_at, "Wait; abort it if it is no longer wanted.")


def _waits_by(view: SagaView, step: StepView, action: str) -> bool:
    steps = view.definition.get("steps")
    return isinstance(steps, list) and any(
        isinstance(body, dict) and body.get("name") == step.name and body.get("action") == action
        for body in steps
    )


_COLOURS = {
    StepState.PENDING: "#eeeeee",
    StepState.EXECUTING: "#fff3bf",
    StepState.COMPLETED: "#b2f2bb",
    StepState.COMPENSATING: "#ffd8a8",
    StepState.COMPENSATED: "#d0bfff",
    StepState.FAILED: "#ffc9c9",
}


def mermaid(view: SagaView) -> str:
    """Return a saga as a Mermaid flow chart, coloured by state."""
    lines = ["flowchart LR"]
    for index, step in enumerate(view.steps):
        name = "".join(c if c.isalnum() or c in " _-" else "_" for c in step.name)
        lines.append(f'    s{index}["{name}<br/>{step.state}"]')
        lines.append(f"    style s{index} fill:{_COLOURS[step.state]}")
    for before, after in _edges(view):
        lines.append(f"    s{before} --> s{after}")
    return "\n".join(lines) + "\n"


def _edges(view: SagaView) -> list[tuple[int, int]]:
    stages: list[list[int]] = []
    last: object = None
    bodies = view.definition.get("steps")
    for index, body in enumerate(bodies if isinstance(bodies, list) else []):
        group = body.get("group") if isinstance(body, dict) else None
        if stages and group is not None and group == last:
            stages[-1].append(index)
        else:
            stages.append([index])
        last = group
    return [
        (before, after)
        for earlier, later in pairwise(stages)
        for before in earlier
        for after in later
    ]
