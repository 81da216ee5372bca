"""The first thing that runs inside: take the guest's modules from the host and serve one request.

The host passes this text to ``python -I -c``, so that any image with a Python can be a sandbox. The
first worker of a back end compiles the modules and hands them back, so that the next need not.
"""

import marshal
import os
import sys
from types import CodeType, ModuleType

_TO_HOST = 1


def take(size: int) -> bytes:
    """Read exactly that many bytes from the host."""
    data = b""
    while len(data) < size:
        piece = os.read(0, size - len(data))
        if not piece:
            os._exit(0)  # the host has no use for this worker any more
        data += piece
    return data


def receive_modules() -> "list[tuple[str, CodeType]]":
    """Return the modules as code, in the order in which they import one another."""
    header = take(5)
    modules = marshal.loads(take(int.from_bytes(header[1:], "big")))
    if header[:1] == b"C":
        return modules
    compiled = [(name, compile(source, f"<{name}>", "exec")) for name, source in modules]
    data = marshal.dumps(compiled)
    data = b"C" + len(data).to_bytes(4, "big") + data
    while data:
        data = data[os.write(_TO_HOST, data) :]
    return compiled


def install(modules: "list[tuple[str, CodeType]]") -> None:
    """Execute each module under its own name."""
    for name, code in modules:
        package, _, leaf = name.rpartition(".")
        module = sys.modules[name] = ModuleType(name)
        setattr(sys.modules.setdefault(package, ModuleType(package)), leaf, module)
        exec(code, module.__dict__)


def main() -> None:
    """Install what every run needs; what few runs need comes when it is needed."""
    modules = receive_modules()
    names = [name.rpartition(".")[2] for name, _ in modules]
    needed = names.index(os.environ.pop("SANDBOX_ENTRY", "supervisor")) + 1
    install(modules[:needed])
    entry = sys.modules[modules[needed - 1][0]]
    rest = modules[names.index("nursery") + 1 :]  # no other entry needs the nursery's
    entry.serve(lambda: install(rest))


if __name__ == "__main__":
    main()
