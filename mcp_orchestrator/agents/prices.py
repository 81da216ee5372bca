"""What tokens cost, by configuration: vendors change it more often than we release."""

from dataclasses import dataclass
from decimal import Decimal

from mcp_orchestrator.agents.model import ModelRequest

_MILLION = Decimal(1_000_000)


@dataclass(frozen=True)
class Prices:
    """Prices per million tokens.

    Args:
        currency: ISO 4217, such as ``"CNY"``.
        uncached_input: for prompt tokens the provider had not cached.
        cached_input: for prompt tokens it had.
        output: for answer tokens, reasoning included.
    """

    currency: str
    uncached_input: Decimal
    cached_input: Decimal
    output: Decimal

    def cost(self, *, input_tokens: int, cached_tokens: int, output_tokens: int) -> Decimal:
        """Return what a call cost; ``cached_tokens`` are a part of ``input_tokens``."""
        uncached = max(input_tokens - cached_tokens, 0)
        spent = (
            uncached * self.uncached_input
            + cached_tokens * self.cached_input
            + output_tokens * self.output
        )
        return spent / _MILLION


#: DeepSeek flash, off-peak (peak hours double it), as published in November 2026.
DEEPSEEK_FLASH = Prices("CNY", Decimal(1), Decimal("0.02"), Decimal(4))


def largest_use(request: ModelRequest) -> tuple[int, int]:
    """Return the most input and output tokens a request is likely to use.

    Three characters a token is on the high side for English and for code, which is the safe
    side for a budget.
    """
    characters = sum(len(message.content) for message in request.messages)
    return characters // 3 + 8 * len(request.messages), request.max_tokens
