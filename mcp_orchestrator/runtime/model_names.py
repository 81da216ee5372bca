"""Finding out at the start whether the model that was configured exists.

It runs beside the start, not before it: a provider that does not answer keeps nobody waiting, and
what needs no model works without.
"""

import logging

import anyio

from mcp_orchestrator.agents import Model
from mcp_orchestrator.errors import ProviderError, ProviderRejectedError

_log = logging.getLogger(__name__)
#: Seconds after which a provider that pads or hangs is left alone.
_PATIENCE = 30.0


async def check_model_name(model: Model) -> None:
    """Ask the provider for its models once, and log what is wrong with what is to be done.

    Args:
        model: the configured one, whose provider lists its models (``GET /models``).
    """
    with anyio.move_on_after(_PATIENCE):
        try:
            _log.info("%s", await model.check())
        except ProviderRejectedError as error:
            _log.error("%s", error)
        except ProviderError as error:
            _log.warning("%s", error)
