"""What is handed out: wheel, source distribution, bundle, and what they say of themselves."""

import json
import os
import subprocess
import sys
import tarfile
import tomllib
import venv
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from mcp_orchestrator import __version__
from scripts.bundle import write_bundle
from tests.services.orchestrator import environment

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build wheel and source distribution with what is installed: no network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_wheel_runs_without_the_checkout(distributions: Path, tmp_path: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    venv.create(tmp_path / "empty", with_pip=False)
    installed = tmp_path / "installed"
    with ZipFile(wheel) as files:
        files.extractall(installed)
    # only the dependencies: path files, which name this checkout, are not followed from there
    dependencies = next(path for path in sys.path if path.endswith("site-packages"))
    settings = environment(tmp_path / "data")
    settings["PYTHONPATH"] = os.pathsep.join([str(installed), dependencies])

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [tmp_path / "empty" / "bin" / "python", "-m", "mcp_orchestrator", *arguments],
            env=settings, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert run("version").stdout == f"mcp-orchestrator {__version__}\n"
    packs = run("pack", "list")
    assert f"{installed}" in packs.stdout, packs.stderr
    assert "travel.reserve_hotel" in packs.stdout
    report = json.loads(run("doctor", "--json").stdout)
    assert report["ok"]
    assert not list(installed.glob("tests"))


def test_the_source_distribution_holds_what_the_package_is_built_from(distributions: Path) -> None:
    (source,) = distributions.glob("*.tar.gz")
    with tarfile.open(source) as files:
        names = {name.partition("/")[2] for name in files.getnames()}
    wanted = {
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "tools/travel.py",
        "deploy/sandbox/Dockerfile",
        "Makefile",
        "scripts/install.sh",
        "scripts/reference.py",
        "benchmarks/mcp/__main__.py",
        "server.json",
    }
    assert wanted <= names


def test_the_bundle_holds_a_manifest_and_the_package(tmp_path: Path) -> None:
    with ZipFile(write_bundle(tmp_path)) as bundle:
        manifest: dict[str, Any] = json.loads(bundle.read("manifest.json"))
        names = set(bundle.namelist())
    assert manifest["version"] == __version__
    assert manifest["server"]["entry_point"] in names
    assert {"pyproject.toml", "tools/travel.py", "deploy/sandbox/Dockerfile"} <= names
    assert not [name for name in names if "__pycache__" in name]
    for variable, value in manifest["server"]["mcp_config"]["env"].items():
        assert value == f"${{user_config.{variable.lower()}}}"
        assert variable.lower() in manifest["user_config"]


def test_the_registry_is_told_the_truth() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    told: dict[str, Any] = json.loads((ROOT / "server.json").read_text())
    (package,) = told["packages"]
    assert (package["identifier"], package["version"]) == (project["name"], __version__)
    assert told["version"] == project["version"] == __version__
    assert f"mcp-name: {told['name']}" in (ROOT / "README.md").read_text()
    assert len(told["description"]) <= 100
    settings = (ROOT / "docs" / "settings.md").read_text()
    for variable in package["environmentVariables"]:
        assert f"`{variable['name']}`" in settings
