"""Sizes, times and lengths: written for people, and read from what they type."""

from __future__ import annotations

import re
from fractions import Fraction

from byheart.core.errors import UsageError

__all__ = ["read_bytes", "read_tokens", "size_text", "time_text", "token_text"]


def size_text(value: float) -> str:
    """Bytes for people.

    >>> size_text(1023), size_text(2**20), size_text(79.5 * 2**30)
    ('1,023 B', '1.00 MiB', '79.5 GiB')
    """
    amount = float(value)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(amount) < 1024 or unit == "TiB":
            break
        amount /= 1024
    if unit == "B":
        return f"{amount:,.0f} B"
    return f"{amount:,.{2 if amount < 10 else 1 if amount < 100 else 0}f} {unit}"


def time_text(seconds: float) -> str:
    """Seconds for people.

    >>> time_text(0), time_text(2.5e-5), time_text(0.0123), time_text(7.25), time_text(7250)
    ('0 s', '25.0 µs', '12.3 ms', '7.25 s', '7,250 s')
    """
    if not seconds:
        return "0 s"
    for factor, unit in ((1e6, "µs"), (1e3, "ms"), (1, "s")):
        amount = seconds * factor
        if amount < 1000 or unit == "s":
            break
    return f"{amount:,.{2 if amount < 10 else 1 if amount < 100 else 0}f} {unit}"


def token_text(tokens: int) -> str:
    """Tokens as one writes them.

    >>> token_text(1000), token_text(131072), token_text(2**20), token_text(1187605)
    ('1,000', '128K', '1M', '1,187,605')
    """
    if tokens and tokens % 2**20 == 0:
        return f"{tokens // 2**20:,}M"
    return f"{tokens // 1024:,}K" if tokens and tokens % 1024 == 0 else f"{tokens:,}"


_NUMBER = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]*)(/s)?", re.ASCII)
_TOKENS = {"": 1, "K": 2**10, "M": 2**20}
_BYTES = {"": 1, "B": 1} | {
    f"{letter}{kind}": base ** (i + 1)
    for i, letter in enumerate("KMGT")
    for kind, base in (("iB", 1024), ("B", 1000))
}


def read_tokens(text: str) -> int:
    """A length: digits, or with K for 1,024 and M for 1,048,576.

    Raises:
        UsageError: If it is anything else, or no whole number of 1 or more.

    >>> read_tokens("131072"), read_tokens("128K"), read_tokens("1M"), read_tokens("1.5M")
    (131072, 131072, 1048576, 1572864)
    """
    return _read(
        text, _TOKENS, "a length in tokens, such as 131072, 128K (1,024 each) or 1M", False
    )


def read_bytes(text: str) -> int:
    """Bytes: digits, or with a unit of a thousand (GB) or of 1,024 (GiB); a rate may end in /s.

    Raises:
        UsageError: If it is anything else: a bare G could mean either.

    >>> read_bytes("80GiB"), read_bytes("25 GB/s"), read_bytes("512")
    (85899345920, 25000000000, 512)
    """
    return _read(text, _BYTES, "bytes with their unit, such as 80GiB, 64GB or 25GB/s", True)


def _read(text: str, units: dict[str, int], wanted: str, rate: bool) -> int:
    found = _NUMBER.fullmatch(text.strip())
    if found is None or (found[3] and not rate) or len(found[1]) > 20:
        raise UsageError(f"{text!r} cannot be read; give {wanted}")
    factor = next((v for k, v in units.items() if k.lower() == found[2].lower()), None)
    if factor is None:
        raise UsageError(f"{text!r} has an unknown unit {found[2]!r}; give {wanted}")
    value = Fraction(found[1]) * factor
    if value.denominator != 1 or value < 1:
        raise UsageError(f"{text!r} is no whole number of 1 or more; give {wanted}")
    return int(value)
