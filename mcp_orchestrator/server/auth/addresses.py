"""Where the server may listen, and under which names and from which pages it may be asked."""

import ipaddress
import socket
from typing import Final
from urllib.parse import urlsplit

from mcp.server.transport_security import TransportSecuritySettings

from mcp_orchestrator.errors import ConfigurationError
from mcp_orchestrator.settings import Settings

_LOOPBACK_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")
_ANY: Final = "*"


def refuse_open_bind(settings: Settings) -> None:
    """Refuse to listen where strangers could reach a server that runs code for anyone.

    Raises:
        ConfigurationError: the address is not loopback, nobody signs in, and nobody has said
            that this is wanted.
    """
    if settings.auth or settings.allow_remote_without_auth or is_loopback(settings.host):
        return
    raise ConfigurationError(
        f"Setting host: {settings.host} can be reached from other machines, without any sign-in.",
        remedy="Set auth to token and make tokens with `token create`, or listen on 127.0.0.1, or"
        " set allow_remote_without_auth if the network is yours alone.",
    )


def is_loopback(host: str) -> bool:
    """Tell whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def transport_security(settings: Settings) -> TransportSecuritySettings:
    """Return which Host and Origin headers are let through.

    A page that a browser shows can make it send requests to this machine, and a name can be made
    to point here (DNS rebinding); so both headers must be ones that the operator expects.
    """
    if _ANY in settings.allowed_hosts:
        return TransportSecuritySettings(enable_dns_rebinding_protection=False)
    names = [*_LOOPBACK_NAMES, in_brackets(settings.host)]
    if not is_loopback(settings.host):
        names.append(socket.gethostname())
    hosts = [pattern for name in names for pattern in (name, f"{name}:*")]
    origins = [f"http://{host}" for host in hosts]
    if settings.public_url is not None:
        parts = urlsplit(settings.public_url)
        hosts.append(parts.netloc)
        origins.append(f"{parts.scheme}://{parts.netloc}")
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=hosts + settings.allowed_hosts,
        allowed_origins=origins + settings.allowed_origins,
    )


def in_brackets(host: str) -> str:
    """Return a host as it is written in a URL."""
    return f"[{host}]" if ":" in host else host
