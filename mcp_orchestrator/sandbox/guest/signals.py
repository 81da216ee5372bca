"""The few signals the guest needs, without the ``signal`` module and the ``enum`` it imports."""
# pyright: reportMissingImports=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

import _signal

KILL: int = _signal.SIGKILL


def ignore_interrupt() -> None:
    """Do nothing at SIGINT."""
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)


def raise_at_interrupt() -> None:
    """Raise KeyboardInterrupt at SIGINT, as an interpreter does."""
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)


def reap_by_itself() -> None:
    """Let the kernel forget children as they end."""
    _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)


def reap_by_hand() -> None:
    """Keep children that have ended until somebody asks for them."""
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
