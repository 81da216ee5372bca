"""What comes out beside the output, and that nothing else does."""

from dataclasses import replace

from mcp_orchestrator.sandbox import ExecutionRequest, ExecutionResult, Limits, RunStatus, Sandbox

MEBIBYTE = 1 << 20


async def run(sandbox: Sandbox, code: str, **limits: float) -> ExecutionResult:
    return await sandbox.run(ExecutionRequest(code, limits=replace(Limits(), **limits)))


def paths(result: ExecutionResult) -> list[str]:
    return [artifact.path for artifact in result.artifacts]


def omitted(result: ExecutionResult) -> dict[str, str]:
    return dict(result.artifacts_omitted)


async def test_new_and_changed_files_come_out(sandbox: Sandbox) -> None:
    code = (
        "import os\n"
        "os.makedirs('out/deep')\n"
        "open('out/deep/ä.bin', 'wb').write(bytes(range(256)) * 2000)\n"
        "open('plot.png', 'wb').write(b'\\x89PNG\\r\\n\\x1a\\n...')\n"
        "open('changed.txt', 'a').write(' more')\n"
        "open('empty', 'w').close()\n"
        "open('/tmp/elsewhere', 'w').write('x')\n"
    )
    files = {"changed.txt": "some", "same.txt": "as it was"}
    result = await sandbox.run(ExecutionRequest(code, files=files))
    assert result.status is RunStatus.OK, result
    found = {artifact.path: artifact for artifact in result.artifacts}
    assert set(found) == {"changed.txt", "empty", "out/deep/ä.bin", "plot.png"}
    assert found["out/deep/ä.bin"].content == bytes(range(256)) * 2000
    assert found["changed.txt"].content == b"some more"
    assert found["empty"].content == b""
    assert found["plot.png"].media_type == "image/png"
    assert found["changed.txt"].media_type == "text/plain"
    assert result.artifacts_omitted == ()


async def test_a_program_that_fails_or_hangs_still_leaves_its_files(sandbox: Sandbox) -> None:
    failed = await run(sandbox, "open('a', 'w').write('1')\n1 / 0")
    assert (failed.status, paths(failed)) == (RunStatus.ERROR, ["a"])
    hung = await run(
        sandbox, "open('a', 'w').write('1')\nimport time; time.sleep(60)", wall_seconds=0.5
    )
    assert (hung.status, paths(hung)) == (RunStatus.TIMEOUT, ["a"])


async def test_links_and_special_files_stay_inside(sandbox: Sandbox) -> None:
    code = (
        "import os\n"
        "os.symlink('/etc/passwd', 'link'); os.symlink('/proc/1', 'folder')\n"
        "open('one', 'w').write('x'); os.link('one', 'two')\n"
        "import socket; socket.socket(socket.AF_UNIX).bind('socket')\n"
        "open('no', 'w').write('x'); os.chmod('no', 0)\n"
        "open(b'\\xff', 'w').write('x'); open('new\\nline', 'w').write('x')\n"
        "open('good', 'w').write('x')\n"
    )
    result = await run(sandbox, code)
    assert paths(result) == ["good"]
    left_out = omitted(result)
    assert left_out["link"] == left_out["folder"] == "a symbolic link"
    assert left_out["one"] == left_out["two"] == "it has hard links"
    assert left_out["socket"] == "not a regular file"
    assert left_out["no"] == "it cannot be opened"
    assert sum("name" in why for why in left_out.values()) == 2


async def test_sparse_large_many_and_deep_files_are_limited(sandbox: Sandbox) -> None:
    sparse = await run(sandbox, "open('s', 'wb').truncate(60 << 20)")
    assert (paths(sparse), list(omitted(sparse))) == ([], ["s"])
    large = await run(sandbox, "for n in range(4): open(f'{n}', 'wb').write(bytes(6 << 20))")
    assert paths(large) == ["0", "1"]
    assert omitted(large)["2"] == "too much together with the others"
    many = await run(sandbox, "for n in range(9000): open(f'{n}', 'w').write('x')")
    assert len(many.artifacts) == 64
    deep = await run(
        sandbox,
        "import os\nfor _ in range(200): os.mkdir('d'); os.chdir('d'); open('f', 'w').write('x')",
    )
    assert max(path.count("/") for path in paths(deep)) == 15
    assert "too many folders deep" in omitted(deep).values()


async def test_tests_leave_nothing(sandbox: Sandbox) -> None:
    result = await run(sandbox, "print(1)")
    assert result.artifacts == ()


async def test_a_long_output_is_shown_by_head_and_tail(sandbox: Sandbox) -> None:
    result = await run(sandbox, "for n in range(20000): print(f'{n:06}')", output_bytes=2048)
    assert result.stdout_truncated
    assert result.stdout.startswith("000000\n000001\n")
    assert result.stdout.endswith("019999\n")
    assert len(result.stdout) < 2200
    assert f"… {140_000 - 2048} bytes left out …" in result.stdout
