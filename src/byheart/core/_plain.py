"""Values and findings made of nothing but what JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from byheart.core.errors import ReportError
from byheart.core.finding import Finding

__all__ = ["normal", "plain"]


def normal(findings: Iterable[Finding], where: str) -> tuple[Finding, ...]:
    """Findings made of plain JSON values, so that they equal themselves after a round trip."""
    out = []
    for finding in findings:
        out.append(Finding.from_dict(plain(finding.to_dict(), finding.name)))
    names = [f.name for f in out]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ReportError(f"{where}: two findings are named {', '.join(twice)}")
    return tuple(out)


def plain(value: Any, path: str) -> Any:
    """Tuples to lists, NumPy scalars to Python's; anything that JSON cannot hold is refused."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ReportError(f"{path} is {value}: a report holds finite numbers only; use None")
        return float(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ReportError(f"{path}: the key {key!r} is no string")
        return {str(k): plain(v, f"{path}.{k}") for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v, f"{path}[{i}]") for i, v in enumerate(value)]
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return plain(value.tolist(), path)
    raise ReportError(f"{path} is a {type(value).__name__}: a report holds JSON values only")
