"""llm-sandbox in an environment of its own: python llm_sandbox_peer.py CELL IMAGE RUNS SECONDS.

Cells: docker-cold and bubblewrap-cold (a session for each run), docker-warm (its pool, whose
containers are used again). Prints one JSON object with times in milliseconds.
"""

# pyright: basic, reportMissingImports=false

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

from llm_sandbox import SandboxBackend, SandboxSession
from llm_sandbox.pool import PoolConfig, create_pool_manager

CODE = "print('first', flush=True)"
CONCURRENCY = 4


def main() -> None:
    cell, image, runs, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    docker = {
        "image": image,
        "skip_environment_setup": True,
        "runtime_configs": {"network_mode": "none"},
    }
    if cell == "bubblewrap-cold":
        options: dict[str, object] = {
            "backend": SandboxBackend.BUBBLEWRAP,
            "skip_environment_setup": True,
        }
    else:
        options = {"backend": SandboxBackend.DOCKER, **docker}
    pool = None
    if cell == "docker-warm":
        config = PoolConfig(min_pool_size=CONCURRENCY, max_pool_size=CONCURRENCY)
        pool = create_pool_manager(backend=SandboxBackend.DOCKER, config=config, **docker)
        options = {"pool": pool}

    def one() -> tuple[float, float]:
        started = time.perf_counter()
        first: list[float] = []
        with SandboxSession(lang="python", **options) as session:
            output = session.run(CODE, on_stdout=lambda _: first.append(time.perf_counter()))
            ended = time.perf_counter()
        assert output.exit_code == 0, output
        assert output.stdout.strip() == "first", output
        return (first or [ended])[0] - started, ended - started

    with pool or nullcontext():
        one()
        times = [one() for _ in range(runs)]
        deadline = time.perf_counter() + seconds

        def keep_on(_: int) -> int:
            count = 0
            while time.perf_counter() < deadline:
                one()
                count += 1
            return count

        began = time.perf_counter()
        with ThreadPoolExecutor(CONCURRENCY) as threads:
            total = sum(threads.map(keep_on, range(CONCURRENCY)))
        rate = total / (time.perf_counter() - began)
    firsts, results = ([each[n] * 1000 for each in times] for n in (0, 1))
    sys.stdout.write("\n" + json.dumps({"first": firsts, "result": results, "rate": rate}) + "\n")


if __name__ == "__main__":
    main()
