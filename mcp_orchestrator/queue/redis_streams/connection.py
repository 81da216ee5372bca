"""The one door to Redis: opening a client by URL, running scripts, translating its errors."""

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from redis import asyncio as redis_asyncio
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from mcp_orchestrator.errors import BackendUnavailableError, ConfigurationError
from mcp_orchestrator.queue.redis_streams.wire import Wire

#: Longer than any blocking read of ours, in seconds.
_SOCKET_TIMEOUT = 10.0
_CONNECT_TIMEOUT = 5.0
#: redis-py refuses the one beyond; a blocking pool makes it wait instead.
_LARGEST_POOL = 64
#: How often a command is repeated when its connection breaks.
_ATTEMPTS = 3
#: Scripts that do without ``tasks.lua``, whose functions Redis would make anew at every call.
_BRIEF = frozenset({"add"})
_REMEDY = (
    "Use redis://, rediss://, unix://, redis+cluster:// or redis+sentinel://HOST,HOST/NAME/DB."
)


class RedisConnection:
    """A client and the scripts of one queue.

    Args:
        url: where Redis is.
        root: the beginning of every key, with the hash tag.
    """

    def __init__(self, url: str, root: str) -> None:
        self._url = url
        self._root = root
        self._client: Any = _open_client(url)
        pool: Any = getattr(self._client, "connection_pool", None)
        # in a cluster, redis-py finds the node of each command
        self._pool = pool
        self._wire = None if pool is None else Wire(pool, timeout=_SOCKET_TIMEOUT)
        self._lines: list[Wire] = []
        self._free_lines: list[Wire] = []
        self._call = self._client.execute_command if self._wire is None else self._wire.call

    async def close(self) -> None:
        """Close every connection."""
        if self._wire is not None:
            await self._wire.close()
        for line in self._lines:
            await line.close()
        await self._client.aclose()

    async def command(self, *words: str | int | float) -> Any:
        """Run one command.

        Raises:
            BackendUnavailableError: Redis does not answer, or refuses.
        """
        try:
            return await self._client.execute_command(*words)
        except (RedisError, OSError) as error:
            raise _unavailable(error) from error

    async def wait(self, *words: str | int | float) -> Any:
        """Run one command that blocks, on a connection that nobody else uses meanwhile.

        Raises:
            BackendUnavailableError: Redis does not answer, or refuses.
        """
        if self._wire is None:
            return await self.command(*words)
        if not self._free_lines:
            self._lines.append(Wire(self._pool, timeout=_SOCKET_TIMEOUT))
            self._free_lines.append(self._lines[-1])
        line = self._free_lines.pop()
        try:
            return await line.wait(*words)
        except (RedisError, OSError) as error:
            raise _unavailable(error) from error
        finally:
            self._free_lines.append(line)

    async def script(self, name: str, arguments: Sequence[str | int]) -> Any:
        """Run one of the scripts in ``lua/``; a server that has lost it is given it again.

        Raises:
            BackendUnavailableError: Redis does not answer, or refuses.
            ResponseError: the script itself said no.
        """
        source, digest = _source(name)
        try:
            try:
                return await self._call("EVALSHA", digest, 1, self._root, *arguments)
            except NoScriptError:
                return await self._call("EVAL", source, 1, self._root, *arguments)
        except ResponseError as error:
            if str(error).startswith("QUEUEFULL"):
                raise
            raise _unavailable(error) from error
        except (RedisError, OSError) as error:
            raise _unavailable(error) from error


@cache
def _source(name: str) -> tuple[str, str]:
    folder = files("mcp_orchestrator.queue.redis_streams") / "lua"
    shared = ("library",) if name in _BRIEF else ("library", "tasks")
    parts = [(folder / f"{part}.lua").read_text("utf-8") for part in (*shared, name)]
    source = "\n".join(parts)
    return source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


def _unavailable(error: Exception) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"Redis does not answer as it should: {type(error).__name__}: {str(error)[:200]}.",
        remedy="Check REDIS_URL and that the server runs.",
    )


def _open_client(url: str) -> Any:
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": _SOCKET_TIMEOUT,
        "socket_connect_timeout": _CONNECT_TIMEOUT,
    }
    scheme, _, rest = url.partition("://")
    try:
        if scheme in ("redis+cluster", "rediss+cluster"):
            return RedisCluster.from_url(f"{scheme.partition('+')[0]}://{rest}", **options)
        if scheme == "redis+sentinel":
            return _open_sentinel(url, options)
        # every script may be repeated: it recognises what it has already done
        options["retry"] = Retry(ExponentialWithJitterBackoff(base=0.05, cap=1.0), _ATTEMPTS)
        pools: Any = redis_asyncio.BlockingConnectionPool
        pool = pools.from_url(
            url, max_connections=_LARGEST_POOL, timeout=_SOCKET_TIMEOUT, **options
        )
        return redis_asyncio.Redis.from_pool(pool)
    except (ValueError, RedisError) as error:
        raise ConfigurationError("REDIS_URL is not usable.", remedy=_REMEDY) from error


def _open_sentinel(url: str, options: dict[str, Any]) -> Any:
    parts = urlsplit(urlunsplit(("sentinel", *urlsplit(url)[1:])))
    credentials, _, hosts = parts.netloc.rpartition("@")
    name, _, database = parts.path.strip("/").partition("/")
    if not hosts or not name:
        raise ConfigurationError("REDIS_URL names no Sentinel service.", remedy=_REMEDY)
    sentinels: list[tuple[str, int]] = []
    for host in hosts.split(","):
        host_name, _, port = host.partition(":")
        sentinels.append((host_name, int(port or 26379)))
    user, _, password = credentials.partition(":")
    sentinel: Any = Sentinel(sentinels, socket_timeout=_CONNECT_TIMEOUT)
    return sentinel.master_for(
        name, db=int(database or 0), username=user or None, password=password or None, **options
    )
