"""The rules of the risk score: tables of names, and the visitor that finds them."""

import ast
import re
from typing import Final

from mcp_orchestrator.sandbox.risk_report import Axis, RiskFinding

#: Rule id: axis and weight. Above 0.3 one finding alone asks for the stricter profile.
RULES: Final[dict[str, tuple[Axis, float]]] = {
    "native-code": ("capability", 0.5),
    "network": ("capability", 0.35),
    "process": ("capability", 0.4),
    "fork": ("capability", 0.45),
    "signal": ("capability", 0.35),
    "privilege": ("capability", 0.5),
    "host-path": ("capability", 0.4),
    "delete-tree": ("capability", 0.3),
    "environment": ("capability", 0.15),
    "interpreter-internals": ("capability", 0.45),
    "huge-allocation": ("capability", 0.4),
    "endless-loop": ("capability", 0.3),
    "outside-file": ("capability", 0.35),
    "link": ("capability", 0.35),
    "climbing": ("capability", 0.35),
    "raw-descriptor": ("capability", 0.3),
    "device-control": ("capability", 0.35),
    "environment-dump": ("capability", 0.35),
    "spying": ("capability", 0.4),
    "persistence": ("capability", 0.4),
    "install-hook": ("capability", 0.35),
    "interactive": ("capability", 0.35),
    "module-table": ("capability", 0.3),
    "source-encoding": ("opacity", 0.4),
    "endless-growth": ("capability", 0.4),
    "tracing": ("capability", 0.35),
    "dynamic-code": ("opacity", 0.45),
    "constant-code": ("opacity", 0.3),
    "dynamic-import": ("opacity", 0.5),
    "dynamic-attribute": ("opacity", 0.25),
    "dynamic-attribute-of-module": ("opacity", 0.5),
    "code-in-strings": ("opacity", 0.35),
    "deserialising": ("opacity", 0.4),
    "decoding": ("opacity", 0.15),
    "opaque-literal": ("opacity", 0.3),
    "deep-nesting": ("opacity", 0.3),
}

_MODULES: Final[dict[str, str]] = {
    **dict.fromkeys(("ctypes", "cffi", "_ctypes", "mmap"), "native-code"),
    **dict.fromkeys(
        ("socket", "_socket", "socketserver", "requests", "httpx", "aiohttp", "ftplib", "smtplib",
         "telnetlib", "poplib", "imaplib", "nntplib", "paramiko", "xmlrpc", "urllib3",
         "urllib.request", "http.client", "http.server", "websockets"),
        "network",
    ),
    **dict.fromkeys(("subprocess", "pty", "_posixsubprocess", "posix"), "process"),
    **dict.fromkeys(("multiprocessing",), "environment"),
    **dict.fromkeys(("marshal",), "deserialising"),
    **dict.fromkeys(("gc",), "environment"),
    **dict.fromkeys(("code", "codeop", "pdb", "bdb"), "code-in-strings"),
    **dict.fromkeys(
        ("pyperclip", "clipboard", "pyautogui", "pynput", "keyboard", "mss", "PIL.ImageGrab",
         "pyscreenshot", "win32clipboard"),
        "spying",
    ),
    **dict.fromkeys(("winreg", "_winreg"), "persistence"),
}  # fmt: skip

_CALLS: Final[dict[str, str]] = {
    **dict.fromkeys(
        ("os.system", "os.popen", "os.execv", "os.execve", "os.execvp", "os.execl", "os.execlp",
         "os.spawnl", "os.spawnv", "os.spawnlp", "os.posix_spawn", "os.startfile",
         "asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell"),
        "process",
    ),
    **dict.fromkeys(("os.fork", "os.forkpty"), "fork"),
    **dict.fromkeys(("os.kill", "os.killpg", "signal.pthread_kill", "os.abort"), "signal"),
    **dict.fromkeys(
        ("os.setuid", "os.setgid", "os.setreuid", "os.setresuid", "os.chroot", "os.mknod",
         "os.unshare", "os.setns", "os.chown", "resource.setrlimit", "os.setgroups",
         "os.sched_setscheduler", "os.setpriority", "os.nice"),
        "privilege",
    ),
    **dict.fromkeys(("os.symlink", "os.link"), "link"),
    **dict.fromkeys(("breakpoint", "help", "sys.breakpointhook"), "interactive"),
    "sys.modules": "module-table",
    **dict.fromkeys(("fcntl.ioctl", "termios.tcsetattr"), "device-control"),
    **dict.fromkeys(
        ("os.environ.items", "os.environ.values", "os.environ.keys", "os.environ.copy"),
        "environment-dump",
    ),
    **dict.fromkeys(("shutil.rmtree", "os.removedirs"), "delete-tree"),
    **dict.fromkeys(("os.environ", "os.getenv", "os.environb"), "environment"),
    **dict.fromkeys(
        ("asyncio.open_connection", "asyncio.start_server", "urllib.request.urlopen"), "network"
    ),
    **dict.fromkeys(
        ("timeit.timeit", "timeit.repeat", "timeit.Timer", "typing.get_type_hints",
         "cProfile.run", "profile.run", "doctest.testmod", "runpy.run_path", "runpy.run_module"),
        "code-in-strings",
    ),
    **dict.fromkeys(
        ("pickle.loads", "pickle.load", "dill.loads", "shelve.open", "types.CodeType",
         "types.FunctionType", "yaml.load", "yaml.unsafe_load"),
        "deserialising",
    ),
    **dict.fromkeys(
        ("codecs.decode", "base64.b64decode", "base64.b32decode", "base64.b85decode",
         "binascii.unhexlify", "binascii.a2b_base64", "zlib.decompress", "lzma.decompress"),
        "decoding",
    ),
    **dict.fromkeys(
        ("sys._getframe", "sys._current_frames", "gc.get_objects", "gc.get_referrers"),
        "interpreter-internals",
    ),
    **dict.fromkeys(("sys.settrace", "sys.setprofile", "sys.addaudithook"), "tracing"),
}  # fmt: skip

_INTERNALS: Final = frozenset({
    "__subclasses__", "__globals__", "__builtins__", "__mro__", "__bases__", "__base__",
    "__code__", "__closure__", "__getattribute__", "__loader__", "__reduce__", "__reduce_ex__",
    "f_back", "f_globals", "f_builtins", "gi_frame", "cr_frame", "tb_frame",
})  # fmt: skip
_HOST_PATHS: Final = re.compile(
    r"^(/proc(/(?!cpuinfo|meminfo)|$)|/sys/|/etc/(passwd|shadow|sudoers|hosts|crontab)|/root\b|/home/"
    r"|/boot\b|/dev/(mem|kmem|sd|vd|nvme|kvm|tcp)|/var/run/|/run/|file://)"
    r"|docker\.sock|\.ssh/|id_rsa|\.aws/|rm -rf|169\.254\.169\.254"
)
#: Where programs start themselves again, or are made to.
_AUTOSTART: Final = re.compile(
    r"crontab|/etc/(cron|init\.d|systemd|rc\.local|profile)|\.config/(autostart|systemd)"
    r"|LaunchAgents|LaunchDaemons|CurrentVersion\\+Run|Start Menu.+Startup"
    r"|\.(bashrc|zshrc|bash_profile|profile)$"
)
_CLIMBING: Final = re.compile(r"^(\.\./){3,}|^\.\./$")
#: What a program may open by an absolute path and still mind its own business.
_OWN_FILES: Final = re.compile(r"^/(tmp|box|dev/(null|zero|u?random|stdin|stdout|stderr))(/|$)")
_SETUID: Final = 0o6000
_NEVER_DECORATORS: Final = frozenset({"exec", "eval", "compile", "input", "open", "print"})
_FORMAT_REACH: Final = re.compile(r"\{[^{}]*\.__\w+__")
#: A loop that does one of these waits for something, or for its time.
_WAITS: Final = frozenset({"sleep", "input", "accept", "recv", "get", "wait", "next", "readline"})
_DEEPEST_RECURSION: Final = 1_000_000
_OPAQUE: Final = re.compile(r"[A-Za-z0-9+/=_\-]{160,}|(?:\\x[0-9a-f]{2}){40,}")
_HUGE: Final = 200_000_000


class Inspector(ast.NodeVisitor):
    """Walks a program once and notes which rules fire where."""

    def __init__(self) -> None:
        self.findings: list[RiskFinding] = []
        self._names: dict[str, str] = {}  # local name: what it was imported as

    def note(self, rule: str, node: ast.AST, message: str) -> None:
        """Record that a rule fired at a node."""
        axis, weight = RULES[rule]
        line: int = getattr(node, "lineno", 1)
        self.findings.append(RiskFinding(rule, axis, weight, line, message))

    def visit_Import(self, node: ast.Import) -> None:
        """Note modules and remember what they are called."""
        for alias in node.names:
            local = alias.asname or alias.name.split(".")[0]
            self._names[local] = alias.name if alias.asname else local
            self._note_module(alias.name, node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Note modules and the functions taken out of them."""
        module = node.module or ""
        self._note_module(module, node)
        for alias in node.names:
            full = f"{module}.{alias.name}"
            self._names[alias.asname or alias.name] = full
            self._note_module(full, node)
            if full in _CALLS:
                self.note(_CALLS[full], node, full)
            if alias.name == "*" and module in {"os", "sys"}:
                self.note("dynamic-attribute", node, f"everything from {module}")

    def visit_Call(self, node: ast.Call) -> None:
        """Note calls that make code, reach attributes by name, or start something."""
        name = self._qualified(node.func)
        if name in {"exec", "eval", "compile", "builtins.exec", "builtins.eval"}:
            constant = bool(node.args) and isinstance(node.args[0], ast.Constant)
            self.note("constant-code" if constant else "dynamic-code", node, f"{name}()")
        elif name in {"__import__", "importlib.import_module", "builtins.__import__"}:
            self._note_import_call(name, node)
        elif name in {"getattr", "setattr", "delattr", "vars", "globals", "locals"}:
            self._note_reflection(name, node)
        elif name in {"bytes", "bytearray"} and node.args and _number(node.args[0]) > _HUGE:
            self.note("huge-allocation", node, f"{name}() of a huge size")
        else:
            self._note_arguments(name, node)
        self.generic_visit(node)

    def _note_arguments(self, name: str, node: ast.Call) -> None:
        """Note calls that only what they are given makes dangerous."""
        first = node.args[0] if node.args else None
        text = first.value if isinstance(first, ast.Constant) else None
        if name in {"open", "io.open", "os.open", "pathlib.Path"} and isinstance(text, str):
            if text.startswith("/") and not _OWN_FILES.match(text):
                self.note("outside-file", node, f"{name}({text[:80]!r})")
        elif name == "os.write" and text not in {1, 2}:
            self.note("raw-descriptor", node, "os.write() to a descriptor of unknown origin")
        elif name == "os.chmod" and len(node.args) > 1 and int(_number(node.args[1])) & _SETUID:
            self.note("privilege", node, "os.chmod() that sets the user of others")
        elif name == "sys.setrecursionlimit" and _is_above(first, _DEEPEST_RECURSION):
            self.note("huge-allocation", node, "recursion of a huge depth")
        elif name in {"dict", "list", "str", "repr"} and self._is_environment(first):
            self.note("environment-dump", node, f"{name}(os.environ)")
        elif any(keyword.arg == "cmdclass" for keyword in node.keywords):
            self.note("install-hook", node, "code that runs while a package is installed")

    def visit_For(self, node: ast.For) -> None:
        """Note a look at every environment variable."""
        self._note_iterated(node.iter)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        """Note a look at every environment variable."""
        self._note_iterated(node.iter)
        self.generic_visit(node)

    def _note_iterated(self, node: ast.expr) -> None:
        if self._is_environment(node):
            self.note("environment-dump", node, "every environment variable")

    def _is_environment(self, node: ast.expr | None) -> bool:
        return node is not None and self._qualified(node) == "os.environ"

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Note functions that are called by being used as decorators."""
        self._visit_decorated(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """Note functions that are called by being used as decorators."""
        self._visit_decorated(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Note functions that are called by being used as decorators."""
        self._visit_decorated(node)

    def _visit_decorated(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        for each in node.decorator_list:
            if isinstance(each, ast.Name) and each.id in _NEVER_DECORATORS:
                self.note("dynamic-code", each, f"@{each.id}")
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """Note dangerous members, called or not, and the interpreter's own insides."""
        name = self._qualified(node)
        if name in _CALLS:
            self.note(_CALLS[name], node, name)
        if node.attr in _INTERNALS:
            self.note("interpreter-internals", node, f".{node.attr}")
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        """Note dangerous functions used under an imported name."""
        full = self._names.get(node.id, node.id)
        if full in _CALLS and isinstance(node.ctx, ast.Load):
            self.note(_CALLS[full], node, full)
        if node.id in {"__builtins__", "__loader__"}:
            self.note("interpreter-internals", node, node.id)

    def visit_Constant(self, node: ast.Constant) -> None:
        """Note the host's paths and long opaque text."""
        if isinstance(node.value, (str, bytes)):
            value = node.value
            text = value if isinstance(value, str) else value.decode("latin-1")
            if _HOST_PATHS.search(text):
                self.note("host-path", node, text[:80])
            if _AUTOSTART.search(text):
                self.note("persistence", node, text[:80])
            if _FORMAT_REACH.search(text):
                self.note("interpreter-internals", node, text[:80])
            if _CLIMBING.search(text):
                self.note("climbing", node, text[:80])
            if _OPAQUE.search(text) and " " not in text[:200]:
                self.note("opaque-literal", node, f"{len(text)} characters of opaque text")
            if text in _INTERNALS:
                self.note("interpreter-internals", node, text)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """Note sequences repeated, and shifts or powers, to a huge size."""
        sides = (node.left, node.right)
        if isinstance(node.op, ast.Mult):
            sequence = any(_is_sequence(each) for each in sides)
            if sequence and any(_number(each) > _HUGE for each in sides):
                self.note("huge-allocation", node, "a sequence repeated a huge number of times")
        elif isinstance(node.op, (ast.Pow, ast.LShift)) and _number(node.right) > 10_000_000:
            self.note("huge-allocation", node, "a number of a huge size")
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        """Note loops that nothing ends, the more so when they start or keep things."""
        endless = isinstance(node.test, ast.Constant) and bool(node.test.value)
        inside = [each for statement in node.body for each in ast.walk(statement)]
        leaves = (ast.Break, ast.Return, ast.Raise, ast.Yield, ast.YieldFrom, ast.Await)
        if endless and not any(isinstance(each, leaves) for each in inside):
            methods = {each.attr for each in inside if isinstance(each, ast.Attribute)}
            grows = methods & {"append", "extend", "write", "fork", "start", "Thread", "Popen"}
            called = methods | {each.id for each in inside if isinstance(each, ast.Name)}
            if grows:
                self.note("endless-growth", node, "a loop without an end that keeps what it makes")
            elif not called & _WAITS:
                self.note("endless-loop", node, "a loop without an end")
        self.generic_visit(node)

    def _note_module(self, module: str, node: ast.AST) -> None:
        for name in (module, module.split(".", maxsplit=1)[0]):
            if name in _MODULES:
                self.note(_MODULES[name], node, f"import {module}")
                return

    def _note_import_call(self, name: str, node: ast.Call) -> None:
        first = node.args[0] if node.args else None
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            self.note("constant-code", node, f"{name}({first.value!r})")
            self._note_module(first.value, node)
        else:
            self.note("dynamic-import", node, f"{name}() of a computed name")

    def _note_reflection(self, name: str, node: ast.Call) -> None:
        if name in {"vars", "globals", "locals"} or len(node.args) < 2:
            return
        attribute = node.args[1]
        owner = self._qualified(node.args[0])
        if isinstance(attribute, ast.Constant):
            full = f"{owner}.{attribute.value}"
            if full in _CALLS:
                self.note(_CALLS[full], node, full)
            return
        module = owner in set(self._names.values()) or owner == "__builtins__"
        rule = "dynamic-attribute-of-module" if module else "dynamic-attribute"
        self.note(rule, node, f"{name}() of a computed name")

    def _qualified(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return self._names.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            return f"{self._qualified(node.value)}.{node.attr}"
        return "?"


def _is_above(node: ast.expr | None, most: float) -> bool:
    return node is not None and _number(node) > most


def _is_sequence(node: ast.expr) -> bool:
    return isinstance(node, (ast.List, ast.Tuple, ast.JoinedStr)) or (
        isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))
    )


def _number(node: ast.expr) -> float:
    """Return the value of a constant arithmetic expression; 0 for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return float(min(node.value, 1e30))
    if isinstance(node, ast.BinOp):
        left, right = _number(node.left), _number(node.right)
        if isinstance(node.op, ast.Mult):
            return min(left * right, 1e30)
        if isinstance(node.op, ast.Pow) and right < 64:
            return min(abs(left), 1e6) ** right if left else 0.0
        if isinstance(node.op, ast.LShift) and right < 100:
            return left * 2.0**right
    return 0.0
