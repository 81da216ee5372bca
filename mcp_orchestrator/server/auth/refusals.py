"""What was refused and why, counted for Prometheus."""

from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter


class Refusal(StrEnum):
    """Why a request was refused."""

    NO_VALID_TOKEN = "no_valid_token"
    FOREIGN_ORIGIN = "foreign_origin"
    FOREIGN_HOST = "foreign_host"
    TOO_LARGE = "too_large"
    TOO_OFTEN = "too_often"
    SCOPE = "scope"
    NOT_OWNER = "not_owner"


class Refusals:
    """Counts refused requests.

    Args:
        registry: where the counter is.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counter = Counter(
            "mcp_orchestrator_refusals", "Requests refused.", ["reason"], registry=registry
        )
        for reason in Refusal:
            self._counter.labels(reason.value)

    def count(self, reason: Refusal) -> None:
        """Count one."""
        self._counter.labels(reason.value).inc()
