"""A rule at one point: the syntax tree as nested functions, with Python's meaning and a budget."""

from __future__ import annotations

import ast
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from byheart.audits._wilt.bounds import (
    BINARY,
    COMPARE,
    MATH_CALLS,
    UNARY,
    is_whole,
    plain_sum,
    power,
    rounded,
    sized,
    to_float,
    to_int,
    to_range,
    whole_float,
)
from byheart.audits._wilt.language import LIMITS, Function, callee
from byheart.core.errors import BudgetExceeded

__all__ = ["Work", "build"]


class Work:
    """Steps that are left, and time; shared by all points of one judgement."""

    __slots__ = ("floor", "left", "until")

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.floor = 0
        self.until = time.monotonic() + LIMITS.seconds

    def begin(self) -> None:
        """A new point: it may take `LIMITS.steps` of what is left."""
        self.floor = max(0, self.left - LIMITS.steps)

    def take(self, steps: int) -> None:
        """Use some.

        Raises:
            BudgetExceeded: None are left.
        """
        self.left -= steps
        if self.left < self.floor or time.monotonic() > self.until:
            raise BudgetExceeded("the rule takes more steps than it may")


_WORK = "\0work"  # no variable can be called so
Env = dict[str, Any]
Code = Callable[[Env], Any]


def _collected(make: Callable[[Iterable[Any]], Any]) -> Callable[..., Any]:
    def collect(*args: Any) -> Any:
        return sized(make(*args))

    return collect


_CALLS: dict[str, Callable[..., Any]] = {
    **MATH_CALLS,
    "abs": abs, "all": all, "any": any, "bool": bool, "divmod": divmod, "enumerate": enumerate,
    "float": to_float, "int": to_int, "len": len, "list": _collected(list), "max": max, "min": min,
    "pow": power, "range": to_range, "reversed": reversed, "round": rounded,
    "set": _collected(set), "sorted": sorted, "sum": plain_sum, "tuple": _collected(tuple),
    "zip": zip, "map": map, "filter": filter, ".is_integer": is_whole,
    "float.is_integer": whole_float,
}  # fmt: skip
_TYPES = {"int": int, "float": float, "bool": bool}


def build(function: Function) -> Callable[..., Any]:
    """A function of numbers. It takes `work=`, a budget shared with other points."""
    code = _build(function.body)
    defaults = [_build(d)({_WORK: Work(LIMITS.steps)}) for d in function.defaults]
    names, least = function.params, len(function.params) - len(defaults)
    cost = function.nodes

    def call(*numbers: float, work: Work | None = None) -> Any:
        if len(numbers) < least or (len(numbers) > len(names) and not function.star):
            raise TypeError(f"takes {len(names)} numbers, got {len(numbers)}")
        work = work or Work(LIMITS.steps)
        work.begin()
        work.take(cost)
        env: Env = {_WORK: work, **dict(zip(names[least:], defaults, strict=True))}
        env.update(zip(names, numbers, strict=False))
        if function.star:
            env[function.star] = tuple(numbers[len(names) :])
        return code(env)

    return call


def _build(node: ast.expr) -> Code:
    return _BUILDERS[type(node)](node)


def _constant(node: ast.Constant) -> Code:
    value = node.value
    return lambda env: value


def _name(node: ast.Name) -> Code:
    name = node.id
    return lambda env: env[name]


def _bool(node: ast.BoolOp) -> Code:
    parts = [_build(v) for v in node.values]
    *first, last = parts
    stop_at = isinstance(node.op, ast.Or)

    def run(env: Env) -> Any:
        for part in first:
            value = part(env)
            if bool(value) is stop_at:
                return value
        return last(env)

    return run


def _unary(node: ast.UnaryOp) -> Code:
    operate, operand = UNARY[type(node.op)], _build(node.operand)
    return lambda env: operate(operand(env))


def _binary(node: ast.BinOp) -> Code:
    operate, left, right = BINARY[type(node.op)], _build(node.left), _build(node.right)
    return lambda env: operate(left(env), right(env))


def _compare(node: ast.Compare) -> Code:
    left = _build(node.left)
    rest = [
        (COMPARE[type(op)], _build(c)) for op, c in zip(node.ops, node.comparators, strict=True)
    ]
    if len(rest) == 1:
        operate, right = rest[0]
        if type(node.ops[0]) in _LOOKED_UP:
            return lambda env: operate(left(env), _walked(right(env), env))
        return lambda env: operate(left(env), right(env))

    def run(env: Env) -> Any:
        a, value = left(env), None
        for op, (operate, right) in zip(node.ops, rest, strict=True):
            b = right(env)
            if type(op) in _LOOKED_UP:
                _walked(b, env)
            value = operate(a, b)
            if not value:
                return value
            a = b
        return value

    return run


_LOOKED_UP = (ast.In, ast.NotIn)


def _walked(items: Any, env: Env) -> Any:
    """`items`, of which Python may look at every one: each is a step."""
    if isinstance(items, list | tuple | set | range):
        env[_WORK].take(len(items))
    return items


def _choice(node: ast.IfExp) -> Code:
    test, yes, no = _build(node.test), _build(node.body), _build(node.orelse)
    return lambda env: yes(env) if test(env) else no(env)


def _items(elements: list[ast.expr]) -> Callable[[Env], list[Any]]:
    """Values of a list's or a call's elements, stars unfolded."""
    parts = [
        (True, _build(e.value)) if isinstance(e, ast.Starred) else (False, _build(e))
        for e in elements
    ]

    def run(env: Env) -> list[Any]:
        out: list[Any] = []
        for star, part in parts:
            value = part(env)
            if star:
                out.extend(itertools.islice(value, LIMITS.items + 1))
                env[_WORK].take(len(sized(out)))
            else:
                out.append(value)
        return out

    return run


def _list(node: ast.List) -> Code:
    return _items(node.elts)


def _tuple(node: ast.Tuple) -> Code:
    items = _items(node.elts)
    return lambda env: tuple(items(env))


def _set(node: ast.Set) -> Code:
    items = _items(node.elts)
    return lambda env: set(items(env))


def _subscript(node: ast.Subscript) -> Code:
    value = _build(node.value)
    if not isinstance(node.slice, ast.Slice):
        index = _build(node.slice)
        return lambda env: value(env)[index(env)]
    ends = [
        None if end is None else _build(end)
        for end in (node.slice.lower, node.slice.upper, node.slice.step)
    ]
    return lambda env: value(env)[slice(*(None if e is None else e(env) for e in ends))]


def _looped(node: ast.ListComp | ast.SetComp | ast.GeneratorExp) -> Callable[[Env], Iterator[Any]]:
    """A comprehension as a generator of its values."""
    element, parts = _build(node.elt), [
        (_target(g.target), _build(g.iter), [_build(c) for c in g.ifs]) for g in node.generators
    ]  # fmt: skip
    cost = sum(1 for _ in ast.walk(node))

    def run(env: Env, first: Iterable[Any], level: int = 0) -> Iterator[Any]:
        bind, _, conditions = parts[level]
        for item in first:
            env[_WORK].take(cost)
            bind(env, item)
            if not all(c(env) for c in conditions):
                continue
            if level + 1 == len(parts):
                yield element(env)
            else:
                yield from run(env, parts[level + 1][1](env), level + 1)

    # the first list is evaluated at once and outside, as Python does
    return lambda env: run(dict(env), iter(parts[0][1](env)))


def _target(node: ast.expr) -> Callable[[Env, Any], None]:
    if isinstance(node, ast.Name):
        name = node.id
        return lambda env, value: env.__setitem__(name, value)
    assert isinstance(node, ast.Tuple | ast.List)
    parts = [_target(e) for e in node.elts]

    def bind(env: Env, value: Any) -> None:
        values = list(value)
        if len(values) != len(parts):
            raise ValueError(f"{len(values)} values to unpack, expected {len(parts)}")
        for part, each in zip(parts, values, strict=True):
            part(env, each)

    return bind


def _list_comprehension(node: ast.ListComp) -> Code:
    loop = _looped(node)
    return lambda env: sized(list(loop(env)))


def _set_comprehension(node: ast.SetComp) -> Code:
    loop = _looped(node)
    return lambda env: sized(set(loop(env)))


def _attribute(node: ast.Attribute) -> Code:
    value = getattr(math, node.attr)
    return lambda env: value


def _call(node: ast.Call) -> Code:
    called = callee(node.func)
    if called == "isinstance":
        value, kinds = _build(node.args[0]), _kinds(node.args[1])
        return lambda env: isinstance(value(env), kinds)
    function = _CALLS[called]
    takes_function = called in ("map", "filter")
    first = _handed(node.args[0]) if takes_function and node.args else None
    rest = node.args[1:] if takes_function else node.args
    if called == ".is_integer":
        assert isinstance(node.func, ast.Attribute)
        rest = [node.func.value, *rest]
    args = _items(rest)
    words = [
        (w.arg or "", _handed(w.value) if w.arg == "key" else _build(w.value))
        for w in node.keywords
    ]

    def run(env: Env) -> Any:
        given = args(env)
        env[_WORK].take(len(given) * (8 if called == "math.lcm" else 1))  # its numbers grow
        for each in given:
            _walked(each, env)
        if first is not None:
            given = [first(env), *given]
        return function(*given, **{k: w(env) for k, w in words})

    return run


def _kinds(node: ast.expr) -> tuple[type, ...]:
    some = node.elts if isinstance(node, ast.Tuple) else [node]
    return tuple(_TYPES[t.id] for t in some if isinstance(t, ast.Name))


def _handed(node: ast.expr) -> Code:
    """A function given to map, filter or as a key."""
    if isinstance(node, ast.Lambda):
        body, cost = _build(node.body), sum(1 for _ in ast.walk(node))
        names = [p.arg for p in (*node.args.posonlyargs, *node.args.args)]

        def make(env: Env) -> Callable[..., Any]:
            def inner(*values: Any) -> Any:
                env[_WORK].take(cost)
                if len(values) != len(names):
                    raise TypeError(f"takes {len(names)} values, got {len(values)}")
                return body({**env, **dict(zip(names, values, strict=True))})

            return inner

        return make
    if isinstance(node, ast.Constant):  # None, in filter and as a key
        return lambda env: None
    function = _CALLS[callee(node)]
    return lambda env: function


def _generator(node: ast.GeneratorExp) -> Code:
    return _looped(node)


_BUILDERS: dict[type[ast.expr], Callable[[Any], Code]] = {
    ast.Constant: _constant, ast.Name: _name, ast.BoolOp: _bool, ast.UnaryOp: _unary,
    ast.BinOp: _binary, ast.Compare: _compare, ast.IfExp: _choice, ast.List: _list,
    ast.Tuple: _tuple, ast.Set: _set, ast.Subscript: _subscript, ast.ListComp: _list_comprehension,
    ast.SetComp: _set_comprehension, ast.GeneratorExp: _generator, ast.Attribute: _attribute,
    ast.Call: _call,
}  # fmt: skip
