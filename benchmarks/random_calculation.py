"""Drawing and verifying arithmetic problems: byheart beside plain evaluators, and sympy.

Run: python benchmarks/random_calculation.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

from byheart.audits.random_calculation import decimal, evaluate, evaluate_plain, generate, verify

PROBLEMS, PLAIN, SYMPY = 100_000, 5_000, 300


def took(call: Callable[[], object]) -> float:
    """Processor time of one run, in seconds."""
    start = time.process_time()
    call()
    return time.process_time() - start


def by_sympy(text: str) -> str:
    """The published way, with sympy's own parser in the place of latex2sympy2."""
    import re

    import sympy
    from sympy.parsing.sympy_parser import parse_expr

    text = re.sub(r"\\frac\{(\d+)\}\{(\d+)\}", r"(\1/\2)", text).replace("^", "**")
    return str(sympy.N(parse_expr(text)))


def main() -> None:
    """Measure and print."""
    print(f"{PROBLEMS:,} problems, processor time")
    for steps in (1, 5, 10, 20):
        start = time.process_time()
        problems = generate(PROBLEMS, steps=steps)
        drawn = time.process_time() - start
        texts = [p.expression for p in problems]
        checked = took(lambda problems=problems: verify(problems))  # type: ignore[misc]
        ours = took(lambda texts=texts: [evaluate(t) for t in texts])  # type: ignore[misc]
        plain = took(lambda texts=texts: [evaluate_plain(t) for t in texts[:PLAIN]])  # type: ignore[misc]
        plain *= PROBLEMS / PLAIN
        line = (
            f"  {steps:2d} steps   drawn {drawn:5.2f} s   verified {checked:5.2f} s   evaluated "
            f"{ours:5.2f} s   plain {plain:6.2f} s ({plain / ours:.1f}x)"
        )
        try:
            import sympy  # noqa: F401
        except ImportError:
            print(line + "   sympy is not installed")
            continue
        some = texts[:SYMPY]
        other = took(lambda some=some: [by_sympy(t) for t in some]) * PROBLEMS / SYMPY  # type: ignore[misc]
        near = sum(by_sympy(t)[:10] == decimal(evaluate(t))[:10] for t in some[:50])
        assert near >= 48, near  # sympy rounds binary numbers
        print(f"{line}   sympy {other:7.0f} s ({other / ours:.0f}x)")


if __name__ == "__main__":
    main()
