"""The language of rules: what a Python lambda may say here, and how large it may be.

A guess comes from a model, so it is never executed. It is read into Python's syntax tree (reading
runs nothing), every node is held against the list below, and the tree is then walked by
`byheart.audits._wilt.scalar`, one point at a time, or by `byheart.audits._wilt.vector`, a whole
grid at a time.
"""

from __future__ import annotations

import ast
import functools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from byheart.core.errors import DataError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["BUILTINS", "LIMITS", "MATH", "Function", "Limits", "parse"]


@dataclass(frozen=True)
class Limits:
    """How large a rule, its numbers and its work may be.

    Attributes:
        characters: Of the text.
        nodes: Of the syntax tree.
        depth: Of the syntax tree.
        brackets: Nested in each other.
        bits: Of any whole number on the way (4096 bits are some 1,200 digits).
        items: Of any list, tuple or set. A range may be long, as long as nobody walks it.
        steps: Node evaluations at one point.
        total: Node evaluations over a whole set of points.
        seconds: For a whole set of points: what the other bounds let through on a slow machine.
    """

    characters: int = 2000
    nodes: int = 400
    depth: int = 60
    brackets: int = 60
    bits: int = 4096
    items: int = 2000
    steps: int = 100_000
    total: int = 30_000_000
    seconds: float = 30.0


LIMITS = Limits()

BUILTINS = frozenset(
    {"abs", "all", "any", "bool", "divmod", "enumerate", "filter", "float", "int", "isinstance",
     "len", "list", "map", "max", "min", "pow", "range", "reversed", "round", "set", "sorted", "sum",
     "tuple", "zip"}
)  # fmt: skip
"""Functions that a rule may call."""

MATH = frozenset(n for n in dir(math) if n[0] != "_") & frozenset(
    {"acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "comb", "copysign",
     "cos", "cosh", "degrees", "dist", "e", "erf", "erfc", "exp", "exp2", "expm1", "fabs",
     "factorial", "floor", "fmod", "fsum", "gamma", "gcd", "hypot", "inf", "isclose", "isfinite",
     "isinf", "isnan", "isqrt", "lcm", "lgamma", "log", "log10", "log1p", "log2", "nan", "perm",
     "pi", "pow", "prod", "radians", "remainder", "sin", "sinh", "sqrt", "tan", "tanh", "tau",
     "trunc"}
)  # fmt: skip
"""Names of `math` that a rule may use."""

TYPES = frozenset({"int", "float", "bool"})
"""Types that `isinstance` may be asked about."""

_NODES = (
    ast.BoolOp, ast.UnaryOp, ast.BinOp, ast.Compare, ast.IfExp, ast.Constant, ast.Name, ast.Call,
    ast.Attribute, ast.Tuple, ast.List, ast.Set, ast.Subscript, ast.Slice, ast.ListComp,
    ast.SetComp, ast.GeneratorExp, ast.comprehension, ast.Starred, ast.Lambda, ast.arguments,
    ast.arg, ast.keyword, ast.Load, ast.Store, ast.boolop, ast.unaryop, ast.operator, ast.cmpop,
)  # fmt: skip
_REFUSED = (ast.Is, ast.IsNot, ast.MatMult)
_WITH_FUNCTION = frozenset({"map", "filter"})
_WITH_KEY = frozenset({"sorted", "min", "max"})


@dataclass(frozen=True)
class Function:
    """A rule or a guess, read and checked.

    Call it with numbers for one point, as Python would; `over` takes whole columns.

    Attributes:
        text: As it was written.
        params: Names of the positional parameters.
        body: The expression.
        star: Name of ``*args``, or empty.
        defaults: Expressions of the last parameters' defaults.

    >>> parse("lambda x, y, z: x < y < z")(1, 2, 3)
    True
    """

    text: str
    params: tuple[str, ...]
    body: ast.expr
    star: str = ""
    defaults: tuple[ast.expr, ...] = ()
    nodes: int = field(default=1, compare=False)

    @functools.cached_property
    def _compiled(self) -> Callable[..., Any]:
        from byheart.audits._wilt.scalar import build

        return build(self)

    def __call__(self, *numbers: float) -> Any:
        """The value at one point.

        Raises:
            BudgetExceeded: A number or the work grows past `LIMITS`.
            ArithmeticError, TypeError, ValueError, LookupError, AttributeError: What Python raises.
        """
        return self._compiled(*numbers)

    def over(self, *columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values at many points: what ``[self(*p) for p in zip(*columns)]`` gives, faster.

        Args:
            columns: One array of shape ``[N]`` a parameter, all whole numbers (int64) or all
                floats.

        Returns:
            Values ``[N]`` (bool, int64, float64, or objects), and whether the function raised
            there ``[N]``; where it did, the value means nothing.

        Raises:
            BudgetExceeded: As for a call.
        """
        from byheart.audits._wilt.vector import evaluate

        return evaluate(self, columns)


def parse(text: str, arity: int = 3, *, bare: bool = True) -> Function:
    """Read a rule.

    Args:
        text: A Python lambda; with `bare` also an expression in x, y and z (x alone if `arity`
            is 1).
        arity: How many numbers it is called with.
        bare: Whether an expression without ``lambda`` will do.

    Raises:
        DataError: It is not Python, not a function of so many numbers, larger than `LIMITS`, or
            says something that the language of rules does not have.

    >>> parse("x + y == z").params
    ('x', 'y', 'z')
    """
    expression = _read(text)
    if isinstance(expression, ast.Lambda):
        function = _lambda(text.strip(), expression, arity)
    elif bare:
        function = Function(text.strip(), ("x", "y", "z")[:arity], expression)
    else:
        raise DataError(f"not a lambda: {_short(text)}")
    names = {*function.params, *([function.star] if function.star else [])}
    _free(names)
    _check(function.body, names)
    for default in function.defaults:
        _check(default, set())
    nodes = sum(1 for _ in ast.walk(function.body))
    return Function(
        function.text, function.params, function.body, function.star, function.defaults, nodes
    )


def _read(text: str) -> ast.expr:
    """The syntax tree, of bounded size."""
    if len(text) > LIMITS.characters:
        raise DataError(
            f"the rule has {len(text)} characters; at most {LIMITS.characters} are read"
        )
    depth = deepest = 0
    for c in text:
        depth += (c in "([{") - (c in ")]}")
        deepest = max(deepest, depth)
    if deepest > LIMITS.brackets:
        raise DataError(f"brackets are nested {deepest} deep; at most {LIMITS.brackets} are read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "1and x" is legal, and nobody's business here
            tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        what = error.msg if isinstance(error, SyntaxError) else type(error).__name__
        raise DataError(f"not a Python expression ({what}): {_short(text)}") from error
    layer: list[ast.AST] = [tree]
    count, depth = 0, 0  # by layers: a deep tree must not exhaust the stack here
    while layer:
        depth += 1
        count += len(layer)
        if depth > LIMITS.depth or count > LIMITS.nodes:
            raise DataError(
                f"the rule is too large (more than {LIMITS.nodes} parts, or {LIMITS.depth} deep): "
                f"{_short(text)}"
            )
        layer = [child for node in layer for child in ast.iter_child_nodes(node)]
    return tree


def _free(names: set[str]) -> None:
    taken = names & {"math", *TYPES}
    if taken:
        raise DataError(f"a variable cannot be called {taken.pop()}")


def _lambda(text: str, tree: ast.Lambda, arity: int) -> Function:
    a = tree.args
    if a.kwonlyargs or a.kwarg:
        raise DataError(f"keyword parameters are not read: {_short(text)}")
    params = tuple(p.arg for p in (*a.posonlyargs, *a.args))
    least = len(params) - len(a.defaults)
    if arity < least or (arity > len(params) and a.vararg is None):
        raise DataError(f"takes {len(params)} numbers, and {arity} are given: {_short(text)}")
    return Function(text, params, tree.body, a.vararg.arg if a.vararg else "", tuple(a.defaults))


def _check(node: ast.AST, names: set[str]) -> None:
    """Refuse whatever the language does not have. `names` are the variables in reach."""
    if not isinstance(node, _NODES) or isinstance(node, _REFUSED):
        raise DataError(f"rules have no {type(node).__name__}")
    if isinstance(node, ast.Constant):
        if not isinstance(node.value, int | float | type(None)):
            raise DataError(f"rules have no constant {node.value!r}")
        if isinstance(node.value, int) and node.value.bit_length() > LIMITS.bits:
            raise DataError(f"a number of {node.value.bit_length()} bits is too large")
        return
    if isinstance(node, ast.Name):
        if node.id not in names:
            raise DataError(f"rules have no name {node.id!r}")
        return
    if isinstance(node, ast.Attribute):
        _attribute(node)
        return
    if isinstance(node, ast.Call):
        _call(node, names)
        return
    if isinstance(node, ast.GeneratorExp):
        raise DataError("a generator stands only inside a call, as in all(... for ...)")
    if isinstance(node, ast.ListComp | ast.SetComp):
        _comprehension(node, names)
        return
    if isinstance(node, ast.Lambda):
        raise DataError("a lambda inside a rule stands only in map, filter or as a key")
    if isinstance(node, ast.Starred):
        raise DataError("a star stands only before a list or tuple in a call")
    for child in ast.iter_child_nodes(node):
        _check(child, names)


def _attribute(node: ast.Attribute) -> None:
    if not (isinstance(node.value, ast.Name) and node.value.id == "math" and node.attr in MATH):
        raise DataError(f"rules have no attribute {node.attr!r}")
    if node.attr not in ("e", "inf", "nan", "pi", "tau"):
        raise DataError(f"math.{node.attr} is a function; call it")


def callee(node: ast.expr) -> str:
    """Name of what is called: ``abs``, ``math.gcd``, ``float.is_integer``, ``.is_integer``; or ""."""
    if isinstance(node, ast.Name) and node.id in BUILTINS:
        return node.id
    if isinstance(node, ast.Attribute):
        owner = node.value.id if isinstance(node.value, ast.Name) else ""
        if owner == "math" and node.attr in MATH - {"e", "inf", "nan", "pi", "tau"}:
            return f"math.{node.attr}"
        if node.attr == "is_integer":
            return "float.is_integer" if owner == "float" else ".is_integer"
    return ""


def _call(node: ast.Call, names: set[str]) -> None:
    called = callee(node.func)
    if not called or (isinstance(node.func, ast.Name) and node.func.id in names):
        raise DataError(f"rules cannot call {_short(ast.unparse(node.func))}")
    if called == ".is_integer":
        assert isinstance(node.func, ast.Attribute)
        _check(node.func.value, names)
    if called == "isinstance":
        if len(node.args) != 2 or node.keywords or not _types(node.args[1], names):
            raise DataError("isinstance is asked about int, float or bool")
        _check(node.args[0], names)
        return
    for i, arg in enumerate(node.args):
        if called in _WITH_FUNCTION and i == 0:
            _function(arg, names, called)
        elif isinstance(arg, ast.GeneratorExp):
            _comprehension(arg, names)
        elif isinstance(arg, ast.Starred):
            _check(arg.value, names)
        else:
            _check(arg, names)
    for word in node.keywords:
        if word.arg is None:
            raise DataError("rules have no ** in a call")
        if word.arg == "key" and called in _WITH_KEY:
            _function(word.value, names, called)
        else:
            _check(word.value, names)


def _types(node: ast.expr, names: set[str]) -> bool:
    some = node.elts if isinstance(node, ast.Tuple) else [node]
    return all(isinstance(t, ast.Name) and t.id in TYPES - names for t in some) and bool(some)


def _function(node: ast.expr, names: set[str], called: str) -> None:
    """A function handed to map, filter or a key: a lambda, or one that a rule may call by name."""
    if isinstance(node, ast.Lambda):
        a = node.args
        if a.kwonlyargs or a.kwarg or a.vararg or a.defaults:
            raise DataError(f"the lambda in {called} takes plain parameters only")
        own = {p.arg for p in (*a.posonlyargs, *a.args)}
        _free(own)
        _check(node.body, names | own)
        return
    if called == "filter" and isinstance(node, ast.Constant) and node.value is None:
        return
    name = callee(node)
    if not name or name in (".is_integer", "isinstance", *_WITH_FUNCTION) or node_in(node, names):
        raise DataError(f"{called} takes a lambda or a function of this language")


def node_in(node: ast.expr, names: set[str]) -> bool:
    """Whether a node is one of the variables in reach."""
    return isinstance(node, ast.Name) and node.id in names


def _comprehension(node: ast.ListComp | ast.SetComp | ast.GeneratorExp, names: set[str]) -> None:
    inside = set(names)
    for part in node.generators:
        if part.is_async:
            raise DataError("rules have no async")
        _check(part.iter, inside)
        _target(part.target, inside)
        for condition in part.ifs:
            _check(condition, inside)
    _check(node.elt, inside)


def _target(node: ast.expr, names: set[str]) -> None:
    if isinstance(node, ast.Name):
        _free({node.id})
        names.add(node.id)
    elif isinstance(node, ast.Tuple | ast.List):
        for part in node.elts:
            _target(part, names)
    else:
        raise DataError("a comprehension names plain variables")


def _short(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 80 else text[:77] + "...")
