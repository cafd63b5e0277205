"""Front matter: PyYAML, which reads the whole of YAML, is the oracle for the part of it read here."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from byheart.core.errors import DataError
from byheart.stores._front_matter import read, write

TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["a: b", "- x", "#c", "yes", "1", "1e5", "~", "---", "'", '"', "a #b", "2024-01-01", "!x", "[a]",
     "C:", "a:b", "é", "null", "0x1", "1_000", "<<", "=", "? x", " a ", "\u2028", "\ufeff", "\0"]
)  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
) | TEXTS
VALUES = st.recursive(
    LEAVES,
    lambda c: st.lists(c, max_size=3) | st.dictionaries(TEXTS, c, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_what_is_written_is_read_back_and_is_yaml_to_others(mapping):
    text = write(mapping)
    assert json.dumps(read(text, "x.md")) == json.dumps(mapping)
    assert yaml.safe_load(text or "{}") == mapping
    assert all(c == "\n" or c.isprintable() for c in text)


TOKENS = st.sampled_from(
    ["a", "b:", " ", "\n", "- ", "  ", ": ", "'", '"', "[", "]", "{", "}", ",", "#", " #", "|", "|-",
     ">", "1", "1.5", "~", "true", "key: v\n", "\n  ", "\n    x: y", "é", "\\n", "---", "\n--- ", "\n...", "&x", "*x",
     "!t", "<<: ", "? ", "%", "@", "\t"]
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(st.lists(TOKENS, max_size=14).map("".join))
def test_whatever_is_accepted_means_what_yaml_says(text):
    try:
        got = read(text, "x.md")
    except DataError as refused:
        said = str(refused)
        got = None
    if got is None:
        assert "x.md, line " in said
        assert ", column " in said
        return
    try:
        wanted = yaml.safe_load(text) or {}
    except yaml.YAMLError:
        assert "\t" in text  # PyYAML has no tabs between tokens, YAML 1.2 has
        return
    assert got == {str(k): v for k, v in wanted.items()} or not all(
        isinstance(k, str) for k in wanted
    )


def test_the_shapes_that_people_write():
    text = """# a comment
type: BigQuery Table   # another
title: "Incident response: data freshness"
tags: [sales, orders,
       'it''s']          # over two lines
generated: { by: human:ahormati, at: 2026-05-28T14:30:00Z }
verified:
- { by: process:nightly }
-   by: human:eva
    at: 2026-06-25
sources:
  - id: ga4
    resource: https://example.com/a?b=c#d
    usage_count: 5000
empty:
text: |
  one

    two
folded: >-
  one
  two

  three
nested:
  deep: {a: [1, 2.5, null], "b": true}
"""
    got = read(text, "x.md")
    assert got["generated"] == {"by": "human:ahormati", "at": "2026-05-28T14:30:00Z"}
    assert got["tags"] == ["sales", "orders", "it's"]
    assert got["verified"][1] == {"by": "human:eva", "at": "2026-06-25"}
    assert got["sources"][0]["resource"] == "https://example.com/a?b=c#d"
    assert got["text"] == "one\n\n  two\n"
    assert got["folded"] == "one two\nthree"
    assert got["empty"] is None
    loader = type("Texts", (yaml.SafeLoader,), {})
    loader.yaml_implicit_resolvers = {
        c: [r for r in rs if "timestamp" not in r[0]]
        for c, rs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    assert got == yaml.load(text, loader)


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ("a: !!python/object/apply:os.system ['x']", 2, 4, "tags"),
        ("a: &x 1", 2, 4, "anchors"),
        ("a: *x", 2, 4, "aliases"),
        ("<<: {a: 1}", 2, 1, "merge"),
        ("a: 1\na: 2", 3, 1, "twice"),
        ("a: {b: 1, b: 2}", 2, 11, "twice"),
        ("a: 1\n\tb: 2", 3, 1, "tab"),
        ("a: b: c", 2, 5, "colon"),
        ("a: 'b", 2, 4, "not closed"),
        ("a: [b", 2, 4, "not closed"),
        ("a: {b: 1,\n\nc: 2", 2, 4, "not closed"),
        ("a: [b] c", 2, 7, "nothing may follow"),
        ("a: b\n  c", 3, 3, "several lines"),
        ('a: "\\q"', 2, 5, "escape"),
        ('a: "\\ud800"', 2, 4, "half a character"),
        ('a: "\\U00110000"', 2, 5, "no such character"),
        ("? a", 2, 1, "marked with ?"),
        ("just words", 2, 1, "key: value"),
        ("- a", 2, 1, "key: value"),
        ("a: 1e999", 2, 4, "beyond"),
        ("a: " + "9" * 5000, 2, 4, "1000 digits"),
        ("a: " + "[" * 100, 2, 44, "deep"),
        ("a: |x\n  b", 2, 4, "block"),
    ],
)
def test_what_is_refused_is_named_with_line_and_column(text, line, column, said):
    with pytest.raises(DataError, match=said) as error:
        read(text, "x.md", line=2)
    assert f"x.md, line {line}, column {column}: " in str(error.value)


def test_deep_nesting_is_an_error_and_no_crash():
    text = "".join("  " * i + f"k{i}:\n" for i in range(3000))
    with pytest.raises(DataError, match="deep"):
        read(text, "x.md")
