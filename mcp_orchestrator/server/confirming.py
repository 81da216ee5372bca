"""Asking before a destructive call: the person where the client can, else by a token."""

from collections.abc import Mapping
from typing import Annotated

from mcp.server.mcpserver import Elicit
from pydantic import BaseModel, Field, JsonValue

from mcp_orchestrator.errors import ConfirmationNeededError
from mcp_orchestrator.server.owned import Workspace
from mcp_orchestrator.server.sampling import offers_elicitation
from mcp_orchestrator.server.waiting import ToolContext

Confirmation = Annotated[
    str | None,
    Field(max_length=200, description="The token of the answer that says what would happen."),
]


class Consent(BaseModel):
    """A person's yes; a no comes as a decline."""


async def consent(
    runtime: Workspace,
    context: ToolContext,
    tool: str,
    arguments: Mapping[str, JsonValue],
    *,
    effect: str | None,
    confirmation: str | None,
) -> Elicit[Consent] | Consent:
    """Ask whether a call shall be made; for use in a resolver of the tool.

    Args:
        runtime: knows the tokens.
        context: the call.
        tool: its name.
        arguments: all that decides what it does.
        effect: what it would do, as a sentence; None where there is nothing to confirm.
        confirmation: the caller's token, if it has one.

    Returns:
        Consent, or the question for the person behind the client.

    Raises:
        ConfirmationNeededError: the client cannot ask its person; the text has a token.
        ConflictError: the token is not good for this call.
    """
    if confirmation is not None:
        await runtime.confirmations.redeem(confirmation, tool, arguments)
        return Consent()
    if effect is None:
        return Consent()
    if offers_elicitation(context):
        return Elicit(f"{effect} Go ahead?", Consent)
    raise ConfirmationNeededError(
        f"Nothing was done yet. {effect}",
        remedy=f"If that is wanted, call {tool} again with the same arguments and"
        f' confirmation="{runtime.confirmations.issue(tool, arguments)}" within 10 minutes.',
    )
