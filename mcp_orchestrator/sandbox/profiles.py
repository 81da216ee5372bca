"""Profiles: what there is to import inside, each with warm workers of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mcp_orchestrator.errors import InvalidInputError

#: Python, pytest and coverage; always there.
PLAIN: Final = "plain"


def profile_image(name: str) -> str:
    """Return what the image of a profile is called by itself."""
    return f"mcp-orchestrator-sandbox-{name}:latest"


def environments(folder: Path | None) -> dict[str, str]:
    """Return the virtual environments in a folder, by their names."""
    if folder is None or not folder.is_dir():
        return {}
    found = sorted(each for each in folder.iterdir() if (each / "bin" / "python").exists())
    return {each.name: str(each) for each in found}


@dataclass(frozen=True)
class Profiles:
    """The profiles that a sandbox can be asked for, beside the plain one.

    Attributes:
        sources: by name, an image (Docker) or the folder of a virtual environment (bubblewrap).
        preload: modules that their waiting workers import ahead, where they are there.
    """

    sources: Mapping[str, str] = field(default_factory=dict[str, str])
    preload: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, the plain one first."""
        return (PLAIN, *(name for name in self.sources if name != PLAIN))

    def source(self, name: str) -> str:
        """Return where a profile other than the plain one comes from.

        Raises:
            InvalidInputError: there is none of that name.
        """
        try:
            return self.sources[name]
        except KeyError:
            raise InvalidInputError(
                f"There is no sandbox profile {name!r}; there are: {', '.join(self.names)}.",
                remedy="Use one of them, or have it added to the setting sandbox_profiles.",
            ) from None

    def beside(self, others: Mapping[str, str]) -> "Profiles":
        """Return these with others, which give way where a name is the same."""
        return Profiles({**others, **self.sources}, self.preload)

    def environment(self, name: str) -> dict[str, str]:
        """Return the variables that the workers of a profile are started with."""
        if name == PLAIN or not self.preload:
            return {}
        return {"SANDBOX_PRELOAD": " ".join(self.preload)}
