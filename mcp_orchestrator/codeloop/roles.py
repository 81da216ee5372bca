"""Which model plays which part: the reasoner and the coder of a call or a loop."""

from collections.abc import Callable
from dataclasses import dataclass

from mcp_orchestrator.agents import Model
from mcp_orchestrator.codeloop.problem import Choice
from mcp_orchestrator.errors import ConfigurationError

NO_PROVIDER_REMEDY = (
    "Set DEEPSEEK_API_KEY (and DEEPSEEK_BASE_URL for any OpenAI-compatible server),"
    " or PERPLEXITY_API_KEY for reasoning, or connect a client that offers sampling."
)


@dataclass(frozen=True)
class Roles:
    """The models at hand.

    Args:
        configured_reasoner: Perplexity, or the coder where it has no key; None without any key.
        configured_coder: DeepSeek or an OpenAI-compatible server; None without a key.
        sampling: makes a model of the client's own for one scope (a saga id).
    """

    configured_reasoner: Model | None
    configured_coder: Model | None
    sampling: Callable[[str], Model]

    def reasoner(self, choice: Choice, scope: str) -> Model:
        """Return the model that reasons.

        Raises:
            ConfigurationError: none is configured and the client's own was not chosen.
        """
        return self._choose(self.configured_reasoner, choice, scope, "reasoning")

    def coder(self, choice: Choice, scope: str) -> Model:
        """Return the model that writes code.

        Raises:
            ConfigurationError: none is configured and the client's own was not chosen.
        """
        return self._choose(self.configured_coder, choice, scope, "code")

    def _choose(self, configured: Model | None, choice: Choice, scope: str, task: str) -> Model:
        if choice == "sampling":
            return self.sampling(scope)
        if configured is None:
            raise ConfigurationError(
                f"No provider for {task} is configured.", remedy=NO_PROVIDER_REMEDY
            )
        return configured
