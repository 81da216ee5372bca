"""Mending a program without asking anybody: the slips that need no model (pure).

Small models forget imports and add a demonstration that fails on import. Both are seen in the
syntax tree, so they cost a test run instead of a model call.
"""

import ast
import builtins
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass

#: What programs use without importing it, besides modules by their own name.
_COMMON = {
    **dict.fromkeys(
        ("Any", "Callable", "Dict", "Iterable", "List", "Optional", "Set", "Tuple", "Union"),
        "typing",
    ),
    **dict.fromkeys(
        ("Counter", "defaultdict", "deque", "OrderedDict", "namedtuple"), "collections"
    ),
    **dict.fromkeys(("reduce", "lru_cache", "cache", "cmp_to_key"), "functools"),
    **dict.fromkeys(
        ("combinations", "permutations", "product", "accumulate", "groupby"), "itertools"
    ),
    **dict.fromkeys(("sqrt", "ceil", "floor", "gcd", "factorial"), "math"),
    **dict.fromkeys(("dataclass", "field"), "dataclasses"),
    **dict.fromkeys(("datetime", "timedelta"), "datetime"),
}
_KNOWN_BEFORE = frozenset(dir(builtins)) | {"__name__", "__file__", "__doc__"}


@dataclass(frozen=True)
class Mended:
    """A mended program, and what was done to it in words."""

    code: str
    notes: tuple[str, ...]


def mend(code: str, allowed_imports: Collection[str] | None = None) -> Mended | None:
    """Add imports that are missing and take out a demonstration at the end.

    Args:
        code: a program that failed its tests.
        allowed_imports: the modules it may import; None for any.

    Returns:
        The mended program, or None where there is nothing to mend or it cannot be parsed.
    """
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return None
    kept, dropped = _without_demonstration(tree)
    imports = [
        (module, line)
        for module, line in _missing_imports(ast.Module(kept, []))
        if allowed_imports is None or module in allowed_imports
    ]
    if not imports and not dropped:
        return None
    body = _source(code, kept) if dropped else code
    lines = [line for _, line in imports]
    notes = [f"added `{line}`" for line in lines]
    notes += ["left out what it runs by itself"] if dropped else []
    head = "".join(f"{line}\n" for line in lines)
    return Mended(head + ("\n" if head else "") + body, tuple(notes))


def _without_demonstration(tree: ast.Module) -> tuple[list[ast.stmt], bool]:
    """Leave out calls and the like at the top level, which tests that import it never need."""
    kept = [statement for statement in tree.body if not _demonstrates(statement)]
    defines = any(isinstance(each, (ast.FunctionDef, ast.ClassDef)) for each in kept)
    return (kept, len(kept) < len(tree.body)) if defines else (tree.body, False)


def _demonstrates(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return not isinstance(statement.value, ast.Constant)  # docstrings stay
    if isinstance(statement, ast.Assign):
        return any(isinstance(node, ast.Call) for node in ast.walk(statement.value))
    return isinstance(statement, (ast.For, ast.While, ast.Assert))


def _source(code: str, statements: list[ast.stmt]) -> str:
    lines = code.splitlines()
    parts: list[str] = []
    for each in statements:
        decorators: list[ast.expr] = getattr(each, "decorator_list", [])
        first = min([each.lineno, *(decorator.lineno for decorator in decorators)])
        parts.append("\n".join(lines[first - 1 : each.end_lineno]))
    return "\n\n".join(parts) + "\n"


def _missing_imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Give the module and the line of each import that a name stands for."""
    bound = _KNOWN_BEFORE.union(*map(_names_bound_by, ast.walk(tree)))
    used = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    for name in dict.fromkeys(used):  # in order
        if name in bound or "*" in bound:
            continue
        if name in _COMMON:
            yield _COMMON[name], f"from {_COMMON[name]} import {name}"
        elif name in sys.stdlib_module_names:
            yield name, f"import {name}"


def _names_bound_by(node: ast.AST) -> set[str]:
    """Return the names that a node makes known, wherever in the program; ``*`` for unknown ones."""
    match node:
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return {(alias.asname or alias.name).split(".")[0] for alias in names}
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.arg(arg=name) | ast.ExceptHandler(name=str(name)):
            return {name}
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            return {name}
        case _:
            return set()
