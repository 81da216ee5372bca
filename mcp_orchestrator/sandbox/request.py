"""What is asked of the sandbox, and the checks made before anything is started."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Final

from mcp_orchestrator.errors import InvalidInputError, LimitExceededError
from mcp_orchestrator.sandbox.profiles import PLAIN

KIBIBYTE: Final = 1024
MEBIBYTE: Final = 1024 * KIBIBYTE

#: The languages a sandbox may know, with the file the code is put in.
LANGUAGES: Final[Mapping[str, str]] = MappingProxyType(
    {"python": "main.py", "bash": "main.sh", "node": "main.js"}
)
LARGEST_CODE_BYTES: Final = MEBIBYTE
LARGEST_INPUT_BYTES: Final = 32 * MEBIBYTE
DEEPEST_PATH: Final = 16
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True)
class Limits:
    """What one run may use.

    Attributes:
        wall_seconds: from the start of the program to its end.
        cpu_seconds: processor time of each process.
        memory_bytes: memory of all processes together, files in memory included.
        processes: processes and threads at the same time.
        disk_bytes: what the working folder may hold, and ``/tmp`` as much again.
        output_bytes: what is kept of stdout, and of stderr: half from the head, half from the tail.
    """

    wall_seconds: float = 10.0
    cpu_seconds: float = 10.0
    memory_bytes: int = 256 * MEBIBYTE
    processes: int = 64
    disk_bytes: int = 64 * MEBIBYTE
    output_bytes: int = 64 * KIBIBYTE


@dataclass(frozen=True)
class ExecutionRequest:
    """One program to run.

    Attributes:
        code: the program's text.
        language: ``python``, or ``bash`` and ``node`` where the sandbox has them.
        stdin: what the program reads.
        files: more files for the working folder, by relative path.
        arguments: the program's arguments.
        environment: variables added to the small fixed set.
        limits: what it may use.
        owner: the principal who asked.
        saga_id: the saga on whose behalf, if any.
        task_id: the queue task on whose behalf, if any.
        allow_risky: run even when the risk score says refuse; isolation stays the same.
        profile: what there is to import inside, by name.
    """

    code: str
    language: str = "python"
    stdin: str = ""
    files: Mapping[str, str | bytes] = field(default_factory=lambda: _NOTHING)
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    limits: Limits = field(default_factory=Limits)
    owner: str | None = None
    saga_id: str | None = None
    task_id: str | None = None
    allow_risky: bool = False
    profile: str = PLAIN


@dataclass(frozen=True)
class TestRequest:
    """One program and the tests it must pass.

    Attributes:
        code: the program, put in ``<module_name>.py``.
        tests: pytest functions, ``unittest.TestCase`` classes or bare ``assert`` lines, put in
            ``test_<module_name>.py``; the program's names are there without an import.
        module_name: what the tests import the program as.
        files: more files for the working folder, by relative path.
        limits: what all the tests together may use.
        owner: the principal who asked.
        saga_id: the saga on whose behalf, if any.
        task_id: the queue task on whose behalf, if any.
        allow_risky: run even when the risk score says refuse; isolation stays the same.
        profile: what there is to import inside, by name.
        coverage: say which lines of the program were reached; takes some 50 ms more.
    """

    __test__ = False  # pytest would take the name for a test class

    code: str
    tests: str
    module_name: str = "solution"
    files: Mapping[str, str | bytes] = field(default_factory=lambda: _NOTHING)
    limits: Limits = field(default_factory=Limits)
    owner: str | None = None
    saga_id: str | None = None
    task_id: str | None = None
    allow_risky: bool = False
    profile: str = PLAIN
    coverage: bool = False


def check_request(request: ExecutionRequest) -> None:
    """Refuse a request that cannot be run as it stands.

    Raises:
        InvalidInputError: an unknown language, an unsafe path, a bad variable or limit.
        LimitExceededError: code or files over their size.
    """
    if request.language not in LANGUAGES:
        raise InvalidInputError(
            f"Unknown language {request.language!r}.",
            remedy=f"Use one of: {', '.join(LANGUAGES)}.",
        )
    check_code(request.code)
    check_files(request.files, request.limits)
    check_limits(request.limits)
    for argument in request.arguments:
        _check_text("an argument", argument)
    for name, value in request.environment.items():
        _check_text("the name of an environment variable", name)
        _check_text(f"the environment variable {name!r}", value)
        if not name or "=" in name:
            raise InvalidInputError(f"{name!r} cannot be the name of an environment variable.")


def check_test_request(request: TestRequest) -> None:
    """Refuse a test request that cannot be run as it stands; raises as ``check_request``."""
    if not request.module_name.isidentifier():
        raise InvalidInputError(
            f"{request.module_name!r} cannot be a module's name.",
            remedy="Use letters, digits and underscores, such as 'solution'.",
        )
    if not request.tests.strip():
        raise InvalidInputError("There are no tests.", remedy="Give at least one `assert` line.")
    check_code(request.code)
    check_code(request.tests)
    check_files(request.files, request.limits)
    check_limits(request.limits)


def check_code(code: str) -> None:
    """Refuse code that is too long; raises LimitExceededError."""
    size = len(code.encode("utf-8", "surrogatepass"))
    if size > LARGEST_CODE_BYTES:
        raise LimitExceededError(
            f"The code has {size} bytes; the most is {LARGEST_CODE_BYTES}.",
            remedy="Put data in files, and only the program in the code.",
        )


def check_files(files: Mapping[str, str | bytes], limits: Limits) -> None:
    """Refuse paths that leave the working folder and files that would not fit in it."""
    total = 0
    for name, content in files.items():
        path = PurePosixPath(name)
        unsafe = path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name
        if unsafe or len(path.parts) > DEEPEST_PATH or len(name) > 255:
            raise InvalidInputError(
                f"{name!r} is not a path inside the working folder.",
                remedy=f"Use a relative path without '..', at most {DEEPEST_PATH} folders deep.",
            )
        total += len(content.encode() if isinstance(content, str) else content)
    most = min(limits.disk_bytes, LARGEST_INPUT_BYTES)
    if total > most:
        raise LimitExceededError(
            f"The files have {total} bytes together; the most is {most}.",
            remedy="Send less, or raise disk_bytes.",
        )


def check_limits(limits: Limits) -> None:
    """Refuse limits that are not positive or that no program can start in."""
    smallest = {
        "wall_seconds": 0.05, "cpu_seconds": 1.0, "memory_bytes": 32 * MEBIBYTE,
        "processes": 1, "disk_bytes": MEBIBYTE, "output_bytes": KIBIBYTE,
    }  # fmt: skip
    largest = {
        "wall_seconds": 3600.0, "cpu_seconds": 3600.0, "memory_bytes": 64 * 1024 * MEBIBYTE,
        "processes": 4096, "disk_bytes": 16 * 1024 * MEBIBYTE, "output_bytes": 16 * MEBIBYTE,
    }  # fmt: skip
    for name, least in smallest.items():
        value: float = getattr(limits, name)
        if not least <= value <= largest[name]:
            raise InvalidInputError(
                f"The limit {name} is {value}.",
                remedy=f"Choose it between {least} and {largest[name]}.",
            )


def _check_text(what: str, value: str) -> None:
    if "\0" in value:
        raise InvalidInputError(f"A NUL character is in {what}.")
