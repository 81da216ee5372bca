"""The other column of the table: PostgreSQL, Redis, and work done by another process."""

import subprocess
from pathlib import Path

import httpx
from mcp import Client

from tests.services.docker_engine import DockerServer
from tests.services.orchestrator import (
    call,
    command,
    connect,
    environment,
    http_server,
    until_ended,
)
from tests.services.postgres_server import PostgresServer
from tests.services.process import stop_process
from tests.services.programmer import PROBLEM, RIGHT, TESTS, programmer, provider_settings
from tests.services.provider_server import provider_server
from tests.services.redis_server import RedisServer


async def test_the_main_job_on_postgresql_and_redis(
    tmp_path: Path, postgres_server: PostgresServer, redis_server: RedisServer
) -> None:
    async with provider_server(programmer()) as provider:
        settings = {
            **provider_settings(provider.base_url),
            "DATABASE_URL": postgres_server.create_database(),
            "REDIS_URL": redis_server.url,
        }
        async with connect("http-modern", tmp_path, settings) as client:
            report = await call(client, "health", {})
            backends = {part["part"]: part["backend"] for part in report["parts"]}
            assert backends["store"] == "PostgreSQL"
            assert backends["queue"] == "Redis Streams"
            assert report["ok"], report
            arguments = {"problem": PROBLEM, "tests": TESTS, "candidates": 1}
            started = await call(client, "loop_start", arguments)
            loop = await until_ended(client, started["loop_id"])
            assert loop["code"] == RIGHT
            task = await call(
                client,
                "queue_add_task",
                {"task_type": "sandbox.execute", "payload": {"code": "print(1)"}},
            )
            done = await call(
                client, "queue_get_task", {"task_id": task["task_id"], "wait_seconds": 20}
            )
            assert done["result"]["stdout"] == "1\n"


async def test_a_worker_process_does_what_a_server_without_workers_takes_in(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    database_url = f"sqlite:///{tmp_path}/shared.db"
    settings = {
        "REDIS_URL": redis_server.url.replace("/0", "/1"),
        "DATABASE_URL": database_url,
        "MCP_ORCHESTRATOR_EMBEDDED_WORKER": "false",
    }
    async with connect("stdio-handshake", tmp_path, settings) as client:
        task = await call(
            client,
            "queue_add_task",
            {"task_type": "travel.write_itinerary", "payload": {"city": "Bern", "nights": 2}},
        )
        waiting = await call(
            client, "queue_get_task", {"task_id": task["task_id"], "wait_seconds": 1}
        )
        assert waiting["status"] == "pending"
        worker = subprocess.Popen(
            command("worker"), env=environment(tmp_path, **settings), cwd=tmp_path,
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            done = await call(
                client, "queue_get_task", {"task_id": task["task_id"], "wait_seconds": 30}
            )
        finally:
            stop_process(worker)
    assert done["status"] == "completed", done
    assert done["result"]["days"][0] == "Day 1: Bern, arrival"
    assert worker.returncode == 0


async def test_prometheus_finds_the_sagas_counted(tmp_path: Path) -> None:
    step = {
        "name": "hotel", "action": "travel.reserve_hotel",
        "arguments": {"city": "Bern", "nights": 1},
    }  # fmt: skip
    with http_server(tmp_path) as server:
        async with Client(server.url("/mcp")) as client:
            await call(client, "saga_start", {"name": "trip", "steps": [step], "wait_seconds": 10})
        async with httpx.AsyncClient() as browser:
            scraped = (await browser.get(server.url("/metrics"))).text
            alive = await browser.get(server.url("/health"))
    assert 'saga_completed_total{saga_type="trip"} 1.0' in scraped
    assert alive.json() == {"status": "ok"}


async def test_the_main_job_in_docker(tmp_path: Path, docker_server: DockerServer) -> None:
    async with provider_server(programmer()) as provider:
        settings = {
            **provider_settings(provider.base_url),
            "MCP_ORCHESTRATOR_SANDBOX": "auto",
            "DOCKER_HOST": docker_server.url,
        }
        async with connect("stdio-modern", tmp_path, settings) as client:
            report = await call(client, "health", {})
            backends = {part["part"]: part["backend"] for part in report["parts"]}
            assert backends["sandbox"] == "docker", report
            arguments = {"problem": PROBLEM, "tests": TESTS, "candidates": 1}
            started = await call(client, "loop_start", arguments)
            loop = await until_ended(client, started["loop_id"])
            assert loop["solved"], loop
            run = await call(client, "sandbox_execute", {"code": "print(2 + 2)"})
            assert (run["status"], run["stdout"], run["backend"]) == ("ok", "4\n", "docker")
