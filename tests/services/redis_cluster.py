"""A real Redis Cluster of three nodes, on free ports, formed without redis-cli."""

import socket
import time
from dataclasses import dataclass
from pathlib import Path

from tests.services.process import ServiceMissingError, free_port
from tests.services.redis_server import RedisServer, start_redis

SLOTS = 16384


@dataclass
class RedisCluster:
    """Three running masters that share the slots."""

    nodes: list[RedisServer]

    @property
    def url(self) -> str:
        """Return a URL that names one node; clients find the others."""
        return f"redis+cluster://127.0.0.1:{self.nodes[0].port}"

    def stop(self) -> None:
        """End every node."""
        for node in self.nodes:
            node.stop()


def _ask(port: int, *words: str) -> bytes:
    request = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(request.encode())
        return connection.recv(65536)


def start_redis_cluster(folder: Path) -> RedisCluster:
    """Start three nodes, give each a third of the slots, introduce them, wait until all agree."""
    nodes: list[RedisServer] = []
    buses: list[str] = []
    for number in range(3):
        home = folder / f"node{number}"
        home.mkdir(parents=True)
        buses.append(str(free_port()))
        options = ("--cluster-enabled", "yes", "--cluster-port", buses[number])
        nodes.append(start_redis(home, options=options))
    cluster = RedisCluster(nodes)
    first = nodes[0].port
    for number, node in enumerate(nodes):
        low, high = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
        _ask(node.port, "CLUSTER", "ADDSLOTSRANGE", str(low), str(high))
        _ask(node.port, "CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        if node.port != first:
            _ask(node.port, "CLUSTER", "MEET", "127.0.0.1", str(first), buses[0])
    for _ in range(1000):
        states = [_ask(node.port, "CLUSTER", "INFO") for node in nodes]
        if all(b"cluster_state:ok" in one and b"known_nodes:3" in one for one in states):
            return cluster
        time.sleep(0.02)
    cluster.stop()
    raise ServiceMissingError("the Redis Cluster did not form")
