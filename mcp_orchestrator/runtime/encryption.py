"""The keys that the settings name: those that encrypt sagas, and the one that signs anchors."""

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import ConfigurationError
from mcp_orchestrator.settings import Settings
from mcp_orchestrator.store.anchors import AnchorKey
from mcp_orchestrator.store.master_keys import KeyFile, MasterKeys, parse_keys
from mcp_orchestrator.store.vault import SagaVault


def open_vault(settings: Settings, clock: Clock) -> SagaVault | None:
    """Return what encrypts sagas; None where no master key is set.

    Raises:
        ConfigurationError: a key is none, the file cannot be read, or both settings are given.
    """
    given, file = settings.master_key, settings.master_key_file
    if given is not None and file is not None:
        raise ConfigurationError("Set master_key or master_key_file, not both.")
    if given is not None:
        return SagaVault(MasterKeys(parse_keys(given.get_secret_value())), clock)
    return SagaVault(KeyFile(file), clock) if file is not None else None


def read_anchor_key(settings: Settings) -> AnchorKey | None:
    """Return the key that signs anchors; None where none is set.

    Raises:
        ConfigurationError: the file cannot be read, or the key is too short.
    """
    path = settings.audit_key_file
    if path is None:
        return None
    try:
        return AnchorKey(path.read_bytes().strip())
    except OSError as error:
        raise ConfigurationError(f"Key file {path}: {error.strerror}.") from error
