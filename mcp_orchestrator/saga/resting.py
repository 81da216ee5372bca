"""Sagas that only wait for something else, and give their place among the running to others."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass


def _nobody() -> None:
    """Tell nobody."""


@dataclass
class Resting:
    """Counts the sagas of a process that rest.

    Attributes:
        count: how many.
        on_more: told when one begins to rest, so that another gets its place.
    """

    count: int = 0
    on_more: Callable[[], None] = _nobody


class Rest:
    """Whether one saga rests: as long as any of its steps waits.

    Args:
        resting: where it is counted.
    """

    def __init__(self, resting: Resting) -> None:
        self._resting = resting
        self._waiting_steps = 0

    @contextmanager
    def waiting(self) -> Generator[None]:
        """Let the saga rest while a step waits."""
        self._waiting_steps += 1
        if self._waiting_steps == 1:
            self._resting.count += 1
            self._resting.on_more()
        try:
            yield
        finally:
            self._waiting_steps -= 1
            if self._waiting_steps == 0:
                self._resting.count -= 1
