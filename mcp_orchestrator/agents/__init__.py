"""Model providers: Perplexity, DeepSeek and its like, and the client's own model.

All are a ``Model``: one request in, one reply out. What a call costs is in the ledger, what it
may cost is checked before it is made, and cancelling it stops the provider's work.
"""

from mcp_orchestrator.agents.breaker import Circuit
from mcp_orchestrator.agents.budgets import Allowance, BudgetRules
from mcp_orchestrator.agents.cache import AnswerCache, CacheSettings, CacheStatistics
from mcp_orchestrator.agents.cached import CachedModel
from mcp_orchestrator.agents.deepseek import DeepSeekModel
from mcp_orchestrator.agents.file_limits import FileLimits
from mcp_orchestrator.agents.function_cache import FunctionCache
from mcp_orchestrator.agents.http import ProviderHttp, Timeouts
from mcp_orchestrator.agents.http_cassette import player, recorder
from mcp_orchestrator.agents.ledgered import LedgeredModel
from mcp_orchestrator.agents.limits import CallLimits, LimitSettings
from mcp_orchestrator.agents.metrics import ProviderMetrics
from mcp_orchestrator.agents.model import (
    EFFORTS,
    Begin,
    Citation,
    Message,
    Model,
    ModelReply,
    ModelRequest,
    Progress,
    RemoteJobs,
    SearchOptions,
    Usage,
)
from mcp_orchestrator.agents.perplexity import PerplexityModel
from mcp_orchestrator.agents.prices import (
    DEEPSEEK_FLASH,
    DEEPSEEK_PEAK_HOURS,
    PeakHours,
    Prices,
    peak_windows,
)
from mcp_orchestrator.agents.retries import RetryPolicy
from mcp_orchestrator.agents.sampling import SamplingMailbox, SamplingModel, SamplingRequest
from mcp_orchestrator.agents.shared_limits import SharedLimits

__all__ = [
    "DEEPSEEK_FLASH",
    "DEEPSEEK_PEAK_HOURS",
    "EFFORTS",
    "Allowance",
    "AnswerCache",
    "Begin",
    "BudgetRules",
    "CacheSettings",
    "CacheStatistics",
    "CachedModel",
    "CallLimits",
    "Circuit",
    "Citation",
    "DeepSeekModel",
    "FileLimits",
    "FunctionCache",
    "LedgeredModel",
    "LimitSettings",
    "Message",
    "Model",
    "ModelReply",
    "ModelRequest",
    "PeakHours",
    "PerplexityModel",
    "Prices",
    "Progress",
    "ProviderHttp",
    "ProviderMetrics",
    "RemoteJobs",
    "RetryPolicy",
    "SamplingMailbox",
    "SamplingModel",
    "SamplingRequest",
    "SearchOptions",
    "SharedLimits",
    "Timeouts",
    "Usage",
    "peak_windows",
    "player",
    "recorder",
]
