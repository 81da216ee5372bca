"""Scopes, rates and addresses: what needs no server."""

import pytest

from mcp_orchestrator.errors import ConfigurationError, InvalidInputError
from mcp_orchestrator.server.auth.addresses import refuse_open_bind, transport_security
from mcp_orchestrator.server.auth.principal import LOCAL, Principal, check_scopes
from mcp_orchestrator.server.auth.rate import RateLimit
from mcp_orchestrator.settings import Settings
from tests.services.skipping_clock import SkippingClock


@pytest.mark.parametrize(
    ("scopes", "toolset", "write", "allowed"),
    [
        ({"read"}, "queue", False, True),
        ({"read"}, "queue", True, False),
        ({"write"}, "queue", True, True),
        ({"queue:read"}, "queue", False, True),
        ({"queue:read"}, "queue", True, False),
        ({"queue:write"}, "queue", False, True),
        ({"queue:write"}, "saga", False, False),
        ({"admin"}, "saga", True, True),
        ({"write"}, "admin", False, True),
        ({"write"}, "admin", True, False),
        ({"admin:write"}, "admin", True, True),
        (set[str](), "queue", False, False),
    ],
)
def test_a_scope_allows_what_it_says(
    scopes: set[str], toolset: str, write: bool, allowed: bool
) -> None:
    assert Principal("alice", frozenset(scopes)).may(toolset, write=write) is allowed


def test_a_principal_sees_only_its_own_and_nothing_of_nobody() -> None:
    alice = Principal("alice", frozenset({"write"}))
    assert alice.sees("alice")
    assert not alice.sees("bob")
    assert not alice.sees(None)
    assert LOCAL.sees(None)
    assert LOCAL.sees("bob")


@pytest.mark.parametrize("scopes", [[], ["queue"], ["Admin"], ["queue:admin"], ["read", ""]])
def test_a_wrong_scope_is_refused(scopes: list[str]) -> None:
    with pytest.raises(InvalidInputError):
        check_scopes(scopes)


async def test_a_rate_admits_a_burst_then_its_rate_for_each_principal() -> None:
    clock = SkippingClock()
    limit = RateLimit(60, clock)
    assert [limit.admit("alice") for _ in range(10)] == [0.0] * 10
    assert 0 < limit.admit("alice") <= 1
    assert limit.admit("bob") == 0
    await clock.sleep(1)
    assert limit.admit("alice") == 0
    assert limit.admit("alice") > 0


def _settings(**values: object) -> Settings:
    return Settings.model_validate(values)


def test_only_loopback_is_listened_on_without_sign_in() -> None:
    refuse_open_bind(_settings(host="127.0.0.1"))
    refuse_open_bind(_settings(host="0.0.0.0", auth=["token"]))
    refuse_open_bind(_settings(host="0.0.0.0", allow_remote_without_auth=True))
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.com"):
        with pytest.raises(ConfigurationError, match="without any sign-in"):
            refuse_open_bind(_settings(host=host))


def test_names_and_origins_are_those_of_the_settings() -> None:
    security = transport_security(
        _settings(
            host="0.0.0.0",
            auth=["token"],
            public_url="https://mcp.example.com",
            allowed_hosts=["inside:8765"],
            allowed_origins=["https://app.example.com"],
        )
    )
    assert security.enable_dns_rebinding_protection
    assert {"mcp.example.com", "inside:8765", "localhost:*"} <= set(security.allowed_hosts)
    assert {"https://mcp.example.com", "https://app.example.com"} <= set(security.allowed_origins)
    assert "*" not in security.allowed_hosts
