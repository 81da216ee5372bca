"""Programs that are one small change away from a program (pure).

The last resort of a loop, once no model has anything left to say: most programs that fail are
nearly right, and a test run costs milliseconds (mutation as repair: Debroy and Wong, "Using
mutation to automatically suggest fixes for faulty programs", 2010). Tests that are few can be met
by a wrong change as well, so what is found so says that no model made it.
"""

import ast
import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

#: What stands for an operator by mistake, the likeliest first.
_COMPARISONS: Mapping[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: Mapping[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub, ast.Mult),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Add, ast.Pow),
    ast.Div: (ast.FloorDiv,),
    ast.FloorDiv: (ast.Div,),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
}

#: Changes one node of a tree in place.
_Change = Callable[[ast.AST], None]


@dataclass(frozen=True)
class SmallChange:
    """A changed program, and what was changed in words."""

    code: str
    note: str


def small_changes(code: str) -> Iterator[SmallChange]:
    """Give the programs one change away: operators, integers, conditions, names, indentation.

    Args:
        code: a program; one that cannot be parsed has no neighbours.

    Returns:
        Programs that can be parsed, none twice, in the order of the program.
    """
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return
    names = _variables(tree)
    seen = {ast.unparse(tree) + "\n"}
    for index, node in enumerate(ast.walk(tree)):
        for change in _changes(node, names):
            changed = copy.deepcopy(tree)
            change(_nth(changed, index))
            text = ast.unparse(changed) + "\n"
            if text not in seen and _is_program(text):
                seen.add(text)
                yield SmallChange(text, _note(node, tree, changed, index))


def _changes(node: ast.AST, names: Iterable[str]) -> Iterator[_Change]:
    yield from _other_operators(node)
    yield from _other_values(node, names)
    yield from _moves(node)


def _other_operators(node: ast.AST) -> Iterator[_Change]:
    match node:
        case ast.Compare(ops=operators):
            for place, operator in enumerate(operators):
                for other in _COMPARISONS.get(type(operator), ()):
                    yield _put("ops", other(), place)
        case ast.BinOp(op=operator) | ast.AugAssign(op=operator):
            for instead in _ARITHMETIC.get(type(operator), ()):
                yield _put("op", instead())
        case ast.BoolOp(op=operator):
            yield _put("op", ast.Or() if isinstance(operator, ast.And) else ast.And())
        case _:
            pass


def _other_values(node: ast.AST, names: Iterable[str]) -> Iterator[_Change]:
    match node:
        case ast.Constant(value=bool(value)):
            yield _put("value", not value)
        case ast.Constant(value=int(value)):
            yield _put("value", value + 1)
            yield _put("value", value - 1)
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            yield _put("test", ast.UnaryOp(ast.Not(), test))
        case ast.Name(id=name, ctx=ast.Load()) if name in names:
            for other in names:
                yield _put("id", other)
        case _:
            pass


def _moves(node: ast.AST) -> Iterator[_Change]:
    """Give the changes that move the end of a block behind it: a return one level too deep."""
    for field in ("body", "orelse"):
        block: object = getattr(node, field, None)
        if not isinstance(block, list):
            continue
        for place, inner in enumerate(cast("list[ast.stmt]", block)):
            if isinstance(inner, (ast.For, ast.While, ast.If)) and len(inner.body) > 1:
                yield _move_out(field, place)


def _put(field: str, value: object, place: int | None = None) -> _Change:
    def change(node: ast.AST) -> None:
        if place is None:
            setattr(node, field, value)
        else:
            getattr(node, field)[place] = value

    return change


def _move_out(field: str, place: int) -> _Change:
    def change(node: ast.AST) -> None:
        block = getattr(node, field)
        block.insert(place + 1, block[place].body.pop())

    return change


def _nth(tree: ast.AST, index: int) -> ast.AST:
    return next(node for place, node in enumerate(ast.walk(tree)) if place == index)


def _variables(tree: ast.AST) -> list[str]:
    """Return the names of arguments and variables, each once."""
    found = [node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)]
    found += [
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]
    return list(dict.fromkeys(found))


def _is_program(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


def _note(node: ast.AST, before: ast.AST, after: ast.AST, index: int) -> str:
    """Say in words what became of a node."""
    if isinstance(node, ast.stmt | ast.Module):
        return f"moved or changed a statement in line {getattr(node, 'lineno', 1)}"
    was, now = ast.unparse(_nth(before, index)), ast.unparse(_nth(after, index))
    return f"line {getattr(node, 'lineno', 1)}: `{was}` became `{now}`"
