"""Putting the finished program where a person finds it, and taking it away again."""

import shutil
from pathlib import Path

from anyio import to_thread


class Deliveries:
    """Folders of delivered programs, one a loop.

    Args:
        folder: the parent of all of them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, loop_id: str) -> Path:
        """Return the folder of one loop."""
        return self._folder / loop_id

    async def deliver(self, loop_id: str, files: dict[str, str]) -> Path:
        """Write the files of a loop; writing them twice gives the same folder."""
        return await to_thread.run_sync(self._write, loop_id, files)

    async def remove(self, loop_id: str) -> None:
        """Remove what was delivered, if anything was."""
        await to_thread.run_sync(
            lambda: shutil.rmtree(self.path(loop_id), ignore_errors=True), abandon_on_cancel=False
        )

    def _write(self, loop_id: str, files: dict[str, str]) -> Path:
        folder = self.path(loop_id)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            partial = folder / f".{name}.partial"
            partial.write_text(content, encoding="utf-8")
            partial.replace(folder / name)
        return folder
