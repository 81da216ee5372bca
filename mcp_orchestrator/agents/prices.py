"""What tokens cost, by configuration: vendors change it more often than we release."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, time
from decimal import Decimal

from mcp_orchestrator.agents.model import ModelRequest
from mcp_orchestrator.errors import ConfigurationError

_MILLION = Decimal(1_000_000)


@dataclass(frozen=True)
class PeakHours:
    """When calls cost more.

    Attributes:
        windows: from and until, in UTC; the end is no longer in it, and may be after midnight.
        factor: how many times the price.
        weekdays_only: not on Saturdays and Sundays.
    """

    windows: tuple[tuple[time, time], ...]
    factor: Decimal = Decimal(2)
    weekdays_only: bool = True

    def hold(self, moment: datetime) -> bool:
        """Tell whether a call that is sent at a moment costs more."""
        now = moment.astimezone(UTC)
        if self.weekdays_only and now.weekday() >= 5:
            return False
        return any(
            start <= now.time() < end if start <= end else now.time() >= start or now.time() < end
            for start, end in self.windows
        )


@dataclass(frozen=True)
class Prices:
    """Prices per million tokens.

    Args:
        currency: ISO 4217, such as ``"CNY"``.
        uncached_input: for prompt tokens the provider had not cached.
        cached_input: for prompt tokens it had.
        output: for answer tokens, reasoning included.
        peak: when it costs more; None for never.
    """

    currency: str
    uncached_input: Decimal
    cached_input: Decimal
    output: Decimal
    peak: PeakHours | None = None

    def at(self, moment: datetime) -> "Prices":
        """Return the prices of a call that is sent at a moment."""
        if self.peak is None or not self.peak.hold(moment):
            return replace(self, peak=None)
        factor = self.peak.factor
        return Prices(
            self.currency,
            self.uncached_input * factor,
            self.cached_input * factor,
            self.output * factor,
        )

    def cost(self, *, input_tokens: int, cached_tokens: int, output_tokens: int) -> Decimal:
        """Return what a call cost; ``cached_tokens`` are a part of ``input_tokens``."""
        uncached = max(input_tokens - cached_tokens, 0)
        spent = (
            uncached * self.uncached_input
            + cached_tokens * self.cached_input
            + output_tokens * self.output
        )
        return spent / _MILLION


def peak_windows(text: str) -> tuple[tuple[time, time], ...]:
    """Read windows such as ``01:00-04:00,06:00-10:00``.

    Raises:
        ConfigurationError: it is not written so.
    """
    try:
        pairs = [part.split("-") for part in text.split(",") if part.strip()]
        return tuple(
            (time.fromisoformat(start.strip()), time.fromisoformat(end.strip()))
            for start, end in pairs
        )
    except ValueError as error:
        raise ConfigurationError(
            f"Setting deepseek_peak_hours: {text!r} are no hours.",
            remedy="Write them as 01:00-04:00,06:00-10:00, in UTC; leave them empty for none.",
        ) from error


#: The vendor's peak hours in UTC, as published in November 2026.
DEEPSEEK_PEAK_HOURS = "01:00-04:00,06:00-10:00"
#: DeepSeek flash, off-peak, as published in November 2026.
DEEPSEEK_FLASH = Prices(
    "CNY", Decimal(1), Decimal("0.02"), Decimal(4), PeakHours(peak_windows(DEEPSEEK_PEAK_HOURS))
)


def largest_use(request: ModelRequest) -> tuple[int, int]:
    """Return the most input and output tokens a request is likely to use.

    Three characters a token is on the high side for English and for code, which is the safe
    side for a budget.
    """
    characters = sum(len(message.content) for message in request.messages)
    return characters // 3 + 8 * len(request.messages), request.max_tokens
