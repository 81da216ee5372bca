"""The sandbox's pure parts: frames, capture, outcomes, policy, filters, risk arithmetic."""

import ast
import json
import signal
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_orchestrator.sandbox.guest import assertions, frames
from mcp_orchestrator.sandbox.guest.capture import Capture
from mcp_orchestrator.sandbox.outcome import GuestOutcome, judge
from mcp_orchestrator.sandbox.policy import Decision, RiskPolicy, tightened
from mcp_orchestrator.sandbox.port import Usage
from mcp_orchestrator.sandbox.request import Limits
from mcp_orchestrator.sandbox.result import ExecutionResult, RunStatus
from mcp_orchestrator.sandbox.risk import RiskReport
from mcp_orchestrator.sandbox.risk_report import RiskFinding, combine
from mcp_orchestrator.sandbox.seccomp import compile_filter, docker_profile, load_policy
from mcp_orchestrator.sandbox.seccomp.policy import parse_policy
from mcp_orchestrator.sandbox.testing import read_report

PIECES = st.lists(st.integers(1, 40), min_size=1, max_size=30)


@given(st.lists(st.tuples(st.sampled_from([b"o", b"F", b"T"]), st.binary(max_size=60))), PIECES)
def test_frames_survive_any_chopping(sent: list[tuple[bytes, bytes]], pieces: list[int]) -> None:
    stream = b"".join(frames.pack(kind, payload) for kind, payload in sent)
    reader = frames.FrameReader()
    received: list[tuple[bytes, bytes]] = []
    position, turn = 0, 0
    while position < len(stream):
        size = pieces[turn % len(pieces)]
        received += reader.feed(stream[position : position + size])
        position, turn = position + size, turn + 1
    assert received == sent


def test_a_frame_longer_than_any_may_be_is_refused() -> None:
    with pytest.raises(frames.FrameError):
        frames.FrameReader().feed(b"o" + struct.pack(">I", frames.LONGEST_FRAME + 1))


@given(st.lists(st.binary(max_size=50), max_size=40), st.integers(2, 64))
def test_capture_keeps_head_and_tail_and_counts_all(pieces: list[bytes], most: int) -> None:
    whole = b"".join(pieces)
    capture = Capture(most - most // 2, most // 2)
    head = b"".join(capture.feed(piece) for piece in pieces)
    tail = capture.tail()
    assert capture.total == len(whole)
    assert whole.startswith(head)
    assert whole.endswith(tail)
    assert len(head) + len(tail) == min(most, len(whole))


def outcome(**changes: object) -> GuestOutcome:
    values: dict[str, object] = {
        "exit_code": 1, "signal": None, "timed_out": False, "duration_seconds": 0.1,
        "cpu_seconds": 0.1, "largest_process_bytes": 1, "disk_free_bytes": 1 << 20,
        "stdout_bytes": 0, "stderr_bytes": 0,
    }  # fmt: skip
    return GuestOutcome.model_validate(values | changes)


@pytest.mark.parametrize(
    ("seen", "usage", "stderr", "status"),
    [
        (outcome(exit_code=0), Usage(), "", RunStatus.OK),
        (outcome(exit_code=0), Usage(refused_forks=3), "", RunStatus.OK),
        (outcome(), Usage(), "ValueError: x", RunStatus.ERROR),
        (outcome(timed_out=True, exit_code=None, signal=9), Usage(), "", RunStatus.TIMEOUT),
        (outcome(exit_code=None, signal=9), Usage(oom_kills=1), "", RunStatus.OUT_OF_MEMORY),
        (outcome(), Usage(), "MemoryError\n", RunStatus.OUT_OF_MEMORY),
        (None, Usage(oom_kills=1), "", RunStatus.OUT_OF_MEMORY),
        (None, Usage(), "", RunStatus.KILLED),
        (outcome(exit_code=None, signal=signal.SIGSYS), Usage(), "", RunStatus.FORBIDDEN_SYSCALL),
        (outcome(exit_code=None, signal=signal.SIGXCPU), Usage(), "", RunStatus.TIMEOUT),
        (outcome(exit_code=None, signal=signal.SIGXFSZ), Usage(), "", RunStatus.DISK_FULL),
        (outcome(exit_code=None, signal=signal.SIGSEGV), Usage(), "", RunStatus.KILLED),
        (outcome(exit_code=None, signal=64), Usage(), "", RunStatus.KILLED),
        (outcome(), Usage(refused_forks=1), "", RunStatus.TOO_MANY_PROCESSES),
        (outcome(), Usage(), "BlockingIOError: [Errno 11] Resource temporarily unavailable",
         RunStatus.TOO_MANY_PROCESSES),
        (outcome(disk_free_bytes=0), Usage(), "", RunStatus.DISK_FULL),
        (outcome(), Usage(), "OSError: [Errno 28] No space left on device", RunStatus.DISK_FULL),
    ],
)  # fmt: skip
def test_endings_are_named(
    seen: GuestOutcome | None, usage: Usage, stderr: str, status: RunStatus
) -> None:
    ending = judge(seen, usage, Limits(), stderr, overdue=False)
    assert ending.status is status
    assert ending.reason.endswith(".") or ":" in ending.reason


def test_a_guest_that_the_host_had_to_end_timed_out() -> None:
    assert judge(None, Usage(), Limits(), "", overdue=True).status is RunStatus.TIMEOUT


weights = st.floats(0, 1)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), weights)))
def test_the_score_grows_with_every_finding_and_stays_within_a_hundred(
    pairs: list[tuple[str, float]],
) -> None:
    findings = [RiskFinding(rule, "capability", weight, 1, "") for rule, weight in pairs]
    scores = [combine(findings[:count]) for count in range(len(findings) + 1)]
    assert scores == sorted(scores)
    assert 0 <= scores[-1] <= 100
    assert combine(findings + findings) == scores[-1]


def test_the_score_decides() -> None:
    policy = RiskPolicy()
    decisions = [
        policy.decide(RiskReport(score), allow_risky=False) for score in (0, 29, 30, 59, 60, 100)
    ]
    assert decisions == [
        Decision.RUN, Decision.RUN, Decision.RUN_STRICTLY, Decision.RUN_STRICTLY, Decision.REFUSE,
        Decision.REFUSE,
    ]  # fmt: skip
    assert policy.decide(RiskReport(99), allow_risky=True) is Decision.RUN_STRICTLY


def test_the_stricter_profile_never_gives_more_than_was_asked() -> None:
    for limits in (Limits(), Limits(processes=2, memory_bytes=64 << 20, wall_seconds=1)):
        strict = tightened(limits)
        for name in ("wall_seconds", "cpu_seconds", "memory_bytes", "processes", "disk_bytes"):
            assert getattr(strict, name) <= getattr(limits, name)


def test_both_filters_come_from_the_one_policy() -> None:
    policy = load_policy()
    assert len(compile_filter(policy)) % 8 == 0
    profile = json.loads(json.dumps(docker_profile(policy, "x86_64")))
    named = {name for rule in profile["syscalls"] for name in rule["names"]}
    assert {*policy.allowed, *policy.killed, *policy.refused, *policy.absent} <= named
    assert {"socket", "socketpair", "clone", "prctl", "ioctl"} <= named
    assert not set(policy.allowed) & {"ptrace", "bpf", "mount", "unshare", "socket", "ioctl"}


def test_a_call_named_twice_is_an_error() -> None:
    text = (
        'allowed = "read ptrace"\nkilled = "ptrace"\nrefused = ""\nabsent = ""\n'
        "socket_families = [1]\nclone_refused_flags = 0\nprctl_options = []\nioctl_requests = []\n"
    )
    with pytest.raises(ValueError, match="ptrace"):
        parse_policy(text)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("assert 1 + 1 == 3", "assert 1 + 1 == 3\nexpected: 3\nactual: 2"),
        ("assert 3 == len('ab')", "assert 3 == len('ab')\nexpected: 3\nactual: 2"),
        ("assert 1 > 2, 'size'", "size\nassert 1 > 2\nleft: 1\nright: 2"),
        ("assert not [1]", "assert not [1]\nit was False"),
        ("assert 0 < 2 < 1", "assert 0 < 2 < 1\nit was False"),
        ("assert 'z' in 'abc'", "assert 'z' in 'abc'\nleft: 'z'\nright: 'abc'"),
    ],
)
def test_an_assertion_says_what_was_expected(source: str, message: str) -> None:
    code = compile(assertions.rewrite(ast.parse(source)), "tests", "exec")
    with pytest.raises(AssertionError) as raised:
        exec(code, assertions.names())
    assert str(raised.value) == message


def result(status: RunStatus) -> ExecutionResult:
    return ExecutionResult(
        "run-1", status, 0, "", "", False, False, 0.1, None, None, "bubblewrap", (), "Ended.",
        RiskReport(),
    )  # fmt: skip


LINES = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.sampled_from(
            [
                b'{"nonce": "wrong", "case": "a", "outcome": "passed"}',
                b'{"nonce": "wrong", "end": 0}',
                b'{"case": "a", "outcome": "passed"}',
                b'{"end": 1}',
                b'{"nonce": "right", "start": "a"}',
                b"[]",
            ]
        ),
    )
)


@given(LINES)
def test_no_report_without_the_nonce_passes(lines: list[bytes]) -> None:
    report = read_report(b"\n".join(lines), "right", result(RunStatus.OK))
    assert not report.all_passed
    assert report.passed == 0


def test_a_genuine_report_passes_only_when_it_is_complete_and_the_run_ended_well() -> None:
    case = b'{"nonce": "n", "case": "a", "outcome": "passed"}\n'
    end = b'{"nonce": "n", "end": 1}\n'
    assert read_report(case + end, "n", result(RunStatus.OK)).all_passed
    assert not read_report(case, "n", result(RunStatus.OK)).all_passed
    assert not read_report(case + end, "n", result(RunStatus.ERROR)).all_passed
    assert not read_report(case + case + end, "n", result(RunStatus.OK)).all_passed


def test_as_many_tests_as_there_may_be_with_their_coverage_are_a_whole_report() -> None:
    line = '{{"nonce": "n", {}}}\n'.format
    cases = [line('"start": "a"') + line('"case": "a", "outcome": "passed"')] * 5000
    rest = line('"statements": 1, "missing": []') + line('"end": 5000')
    whole = read_report("".join([*cases, rest]).encode(), "n", result(RunStatus.OK))
    assert (whole.all_passed, whole.passed) == (True, 5000)
    assert whole.coverage is not None
