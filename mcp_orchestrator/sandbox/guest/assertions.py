"""Rewriting ``assert`` so that a failure says what was expected and what came.

Operands are evaluated once, in order, as before; only the message is new. The temporary names hold
a character that no identifier can, so they never meet the program's own.
"""

import ast

_LEFT, _RIGHT, _VALUE, _EXPLAIN = "@left", "@right", "@value", "@explain"
_OPERATORS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip
_LONGEST = 400


def shorten(value: object, most: int = _LONGEST) -> str:
    """Return a short representation of any value, even one whose ``repr`` fails."""
    try:
        text = repr(value)
    except BaseException as error:  # the value's own code, which may do anything
        text = f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-most // 2 :]}"


def explain_comparison(
    source: str, operator: str, left: object, right: object, message: object
) -> str:
    """Say how a comparison failed; the side written as a plain value is the expected one."""
    text = f"assert {source}" if message is None else f"{message}\nassert {source}"
    if operator != "==":
        return f"{text}\nleft: {shorten(left)}\nright: {shorten(right)}"
    return f"{text}\nexpected: {shorten(right)}\nactual: {shorten(left)}"


def explain_value(source: str, value: object, message: object) -> str:
    """Say what a condition came out as."""
    text = f"assert {source}" if message is None else f"{message}\nassert {source}"
    return f"{text}\nit was {shorten(value)}"


class Rewriter(ast.NodeTransformer):
    """Replaces each ``assert`` by the same test with a telling message."""

    def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
        """Rewrite one assertion."""
        source = ast.unparse(node.test)
        message: ast.expr = node.msg or ast.Constant(None)
        setup: list[ast.stmt]
        test = node.test
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            operator = test.ops[0]
            setup = [_assign(_LEFT, test.left), _assign(_RIGHT, test.comparators[0])]
            condition: ast.expr = ast.Compare(_load(_LEFT), [operator], [_load(_RIGHT)])
            sides = [_load(_LEFT), _load(_RIGHT)]
            if _is_plain(test.left) and not _is_plain(test.comparators[0]):
                sides.reverse()
            symbol = ast.Constant(_OPERATORS[type(operator)])
            arguments: list[ast.expr] = [ast.Constant(source), symbol, *sides, message]
            explanation = "comparison"
        else:
            setup = [_assign(_VALUE, test)]
            condition = _load(_VALUE)
            arguments = [ast.Constant(source), _load(_VALUE), message]
            explanation = "value"
        function = ast.Attribute(_load(_EXPLAIN), explanation, ast.Load())
        error = ast.Call(_load("AssertionError"), [ast.Call(function, arguments, [])], [])
        check = ast.If(ast.UnaryOp(ast.Not(), condition), [ast.Raise(error)], [])
        return [ast.copy_location(statement, node) for statement in (*setup, check)]


def _load(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _assign(name: str, value: ast.expr) -> ast.Assign:
    return ast.Assign([ast.Name(name, ast.Store())], value)


def _is_plain(node: ast.expr) -> bool:
    """Tell whether an expression is written out as a value, without a call or a name."""
    return not any(isinstance(each, (ast.Call, ast.Name, ast.Await)) for each in ast.walk(node))


class Explain:
    """What the rewritten code calls, under a name that it alone can write."""

    comparison = staticmethod(explain_comparison)
    value = staticmethod(explain_value)


def rewrite(tree: ast.Module) -> ast.Module:
    """Rewrite every assertion of a module, in place."""
    return ast.fix_missing_locations(Rewriter().visit(tree))


def names() -> dict[str, object]:
    """Return what a rewritten module needs among its global names."""
    return {_EXPLAIN: Explain}
