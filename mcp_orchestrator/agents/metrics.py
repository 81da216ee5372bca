"""What Prometheus sees of the model providers."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from mcp_orchestrator.agents.breaker import Circuit
from mcp_orchestrator.agents.model import ModelReply

#: Seconds; a cached prefix answers in tenths, deep research takes many minutes.
_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
_CIRCUITS = {Circuit.CLOSED: 0, Circuit.HALF_OPEN: 1, Circuit.OPEN: 2}


class ProviderMetrics:
    """The providers' metrics of one process.

    Args:
        registry: where they are registered; one set for each registry.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        self._requests = counter(
            "provider_requests", "Requests sent, retries included.", "provider", "outcome"
        )
        self._retries = counter("provider_retries", "Requests sent again.", "provider", "reason")
        self._seconds = Histogram(
            "provider_request_duration_seconds", "One request.", ["provider"],
            registry=registry, buckets=_BUCKETS,
        )  # fmt: skip
        self._calls = counter(
            "provider_calls", "Model calls as the ledger has them.", "provider", "outcome"
        )
        self._tokens = counter("provider_tokens", "Tokens paid for.", "provider", "model", "kind")
        self._cost = counter("provider_cost", "Money spent.", "provider", "model", "currency")
        self._lookups = counter("provider_cache_lookups", "Lookups in the cache.", "result")
        self._circuit = Gauge(
            "provider_circuit", "Circuit breaker: 0 closed, 1 half open, 2 open.", ["provider"],
            registry=registry,
        )  # fmt: skip

    def watch(self, provider: str, circuit: Callable[[], Circuit]) -> None:
        """Learn where the state of a provider's breaker is to be had."""
        self._circuit.labels(provider).set_function(lambda: _CIRCUITS[circuit()])

    def sent(self, provider: str, outcome: str, seconds: float) -> None:
        """Count one request: answered, refused, throttled, failed or cancelled."""
        self._requests.labels(provider, outcome).inc()
        self._seconds.labels(provider).observe(seconds)

    def again(self, provider: str, *, throttled: bool) -> None:
        """Count a request that is about to be sent again."""
        self._retries.labels(provider, "throttled" if throttled else "failed").inc()

    def settled(self, provider: str, outcome: str, reply: ModelReply | None = None) -> None:
        """Count a call that has ended, with what it used."""
        self._calls.labels(provider, outcome).inc()
        if reply is None:
            return
        usage = reply.usage
        kinds = {
            "input": usage.input_tokens, "output": usage.output_tokens,
            "cached": usage.cached_tokens, "reasoning": usage.reasoning_tokens,
        }  # fmt: skip
        for kind, count in kinds.items():
            self._tokens.labels(provider, reply.model, kind).inc(count)
        if usage.cost is not None and usage.currency is not None:
            self._cost.labels(provider, reply.model, usage.currency).inc(float(usage.cost))

    def looked_up(self, *, hit: bool) -> None:
        """Count a lookup in the cache of answers."""
        self._lookups.labels("hit" if hit else "miss").inc()
