"""A program that uses much of Python's library, and numpy and its kin where they are there.

The policy is derived from it, and the tests run it inside. It prints the name of each part that
worked. Only the standard library is imported at the top.
"""
# pandas has no types of its own.
# pyright: reportUnknownMemberType=false
# A program's output is printed; its parts are named, not described; numpy may not be there.
# ruff: noqa: T201, D103, PLC0415

import asyncio
import concurrent.futures
import ctypes
import fcntl
import mmap
import multiprocessing
import os
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path


def files() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "a").write_text("one")
        os.link(folder / "a", folder / "b")
        (folder / "c").symlink_to("a")
        shutil.copy2(folder / "a", folder / "d")
        (folder / "d").replace(folder / "e")
        os.utime(folder / "e", (1, 1))
        (folder / "e").chmod(0o600)
        os.truncate(folder / "e", 1)
        with (folder / "e").open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            os.fsync(file.fileno())
            os.sendfile(file.fileno(), os.open(folder / "a", os.O_RDONLY), 0, 3)
            with mmap.mmap(file.fileno(), 0) as mapped:
                mapped.flush()
        assert sorted(each.name for each in folder.iterdir())[:3] == ["a", "b", "c"]
        os.statvfs(folder)
        os.listxattr(folder / "a")


def processes() -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", "echo $0; exit 3", "x"], check=False, capture_output=True
    )
    assert (done.returncode, done.stdout) == (3, b"x\n")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b"child")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 9) == b"child"
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(abs, [-1, 2]) == [1, 2]


def threads() -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(str, range(9)))) == 9
    ready = threading.Event()
    threading.Timer(0.001, ready.set).start()
    assert ready.wait(9)


def signals() -> None:
    seen: list[int] = []
    signal.signal(signal.SIGALRM, lambda number, _frame: seen.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    while not seen:
        time.sleep(0.001)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    os.kill(os.getpid(), signal.SIGUSR1)
    assert signal.sigwait({signal.SIGUSR1}) == signal.SIGUSR1


def sockets() -> None:
    left, right = socket.socketpair()
    poller = select.epoll()
    poller.register(right.fileno(), select.EPOLLIN)
    left.sendall(b"hello")
    assert poller.poll(9)
    assert right.recv(9) == b"hello"
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/s")
        server.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{folder}/s")
            server.accept()[0].close()


def loops() -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("/bin/echo", "a", stdout=subprocess.PIPE)
        assert await process.communicate() == (b"a\n", None)
        assert await asyncio.to_thread(abs, -3) == 3
        await asyncio.gather(*(asyncio.sleep(0) for _ in range(9)))

    asyncio.run(main())


def databases() -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = sqlite3.connect(f"{folder}/d")
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE t (x)")
        database.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(99)])
        database.commit()
        assert database.execute("SELECT sum(x) FROM t").fetchone() == (4851,)
        database.close()


def memory() -> None:
    assert ctypes.CDLL(None).abs(-3) == 3
    assert len(os.urandom(9)) == 9
    block = mmap.mmap(-1, 1 << 20)
    block.madvise(mmap.MADV_DONTNEED)
    os.close(os.memfd_create("x"))
    assert os.sched_getaffinity(0)


def science() -> None:
    import numpy as np
    import pandas as pd
    from matplotlib import pyplot as plt

    assert np.linalg.inv(np.eye(200)).trace() == 200
    assert pd.DataFrame({"x": range(9)}).x.rolling(3).mean().iloc[-1] == 7
    plt.plot([1, 2])
    plt.savefig(Path(tempfile.gettempdir(), "figure.png"))


PARTS = (files, processes, threads, signals, sockets, loops, databases, memory, science)

if __name__ == "__main__":
    for part in PARTS:
        try:
            part()
        except ImportError as error:
            print(f"{part.__name__}: left out, {error}")
        else:
            print(f"{part.__name__}: works")
    sys.stdout.flush()
