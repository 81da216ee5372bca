"""The programs that start this server: their configuration files, edited safely."""

from mcp_orchestrator.hosts.configuration import Change, planned_change
from mcp_orchestrator.hosts.host import HOSTS, SERVER_NAME, Host, host_named, install_command

__all__ = [
    "HOSTS",
    "SERVER_NAME",
    "Change",
    "Host",
    "host_named",
    "install_command",
    "planned_change",
]
