"""Finding the program in what a model wrote (pure)."""

import ast
import re

_FENCE = re.compile(r"```[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)


def extract_code(text: str) -> str:
    """Return the Python program in a reply, or an empty string.

    Fenced blocks are preferred; of several, the longest one that parses. A reply without a fence
    counts when all of it parses. A block that was cut off loses its unfinished last statement.
    """
    fenced = [body for language, body in _FENCE.findall(text) if _is_python(language)]
    blocks = fenced or [text]
    parsed = [block for block in map(_parsable, blocks) if block]
    return max(parsed, key=len, default=fenced[0].strip() if fenced else "")


def _is_python(language: str) -> bool:
    return language.lower() in ("", "python", "py", "python3")


def _parsable(block: str) -> str:
    lines = block.strip("\n").splitlines()
    while lines:
        candidate = "\n".join(lines)
        try:
            tree = ast.parse(candidate)
        except (SyntaxError, ValueError):
            lines.pop()
            continue
        return candidate.rstrip() + "\n" if _defines_something(tree) else ""
    return ""


def _defines_something(tree: ast.Module) -> bool:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.Import)
    return any(isinstance(statement, kinds) for statement in tree.body)


def imported_modules(code: str) -> set[str]:
    """Return the top-level names of the modules that a program imports."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return set()
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            modules.add(node.module.split(".")[0])
    return modules


def newer_syntax(code: str, language_level: str) -> str:
    """Return what a program uses that an older Python does not know; empty for nothing.

    Args:
        code: a program; one that no Python can parse has no newer syntax.
        language_level: the oldest Python it may need, such as ``3.9``.
    """
    version = (3, int(language_level.partition(".")[2]))
    try:
        ast.parse(code)
    except (SyntaxError, ValueError):
        return ""
    try:
        ast.parse(code, feature_version=version)
    except SyntaxError as error:
        return error.msg  # its line is where the parser noticed
    return ""
