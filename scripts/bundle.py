"""Make the bundle that desktop hosts install with one click: ``python scripts/bundle.py FOLDER``.

A bundle is a zip file with a manifest (MCPB 0.4); the host's uv installs what the project names.
"""

import json
import sys
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

ROOT = Path(__file__).resolve().parent.parent
#: What the package is built from, as in a source distribution.
CONTENTS = ("mcp_orchestrator", "tools", "deploy/sandbox", "pyproject.toml", "README.md", "LICENSE")


def write_bundle(folder: Path) -> Path:
    """Write the bundle into a folder and return its path."""
    manifest = ROOT / "deploy" / "bundle" / "manifest.json"
    version = json.loads(manifest.read_text(encoding="utf-8"))["version"]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"mcp-orchestrator-{version}.mcpb"
    with ZipFile(path, "w", ZIP_DEFLATED) as bundle:
        bundle.write(manifest, "manifest.json")
        for file in sorted(file for name in CONTENTS for file in _files(ROOT / name)):
            bundle.write(file, file.relative_to(ROOT))
    return path


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts]


if __name__ == "__main__":
    sys.stdout.write(f"{write_bundle(Path(sys.argv[1] if len(sys.argv) > 1 else 'dist'))}\n")
