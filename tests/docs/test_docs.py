"""The documentation is true: its code runs, and every verb, name, extra and error is in it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)


def text_of(*names: str) -> str:
    return "\n".join((ROOT / name).read_text(encoding="utf-8") for name in names)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_python_blocks_of_a_page_run_in_order(page, tmp_path, monkeypatch):
    blocks = [b for b in BLOCK.findall(page.read_text(encoding="utf-8")) if "# no-run" not in b]
    if not blocks:
        return
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_and_pictures_point_at_something(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_verb_and_option_is_documented():
    import typer

    from byheart.cli import _register, app

    _register()
    page = text_of("docs/reference/cli.md")
    group = typer.main.get_command(app)
    assert group.commands
    for verb, command in group.commands.items():
        assert f"## byheart {verb}" in page, verb
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--") and option != "--help":
                    assert f"`{option}" in page, f"{verb} {option}"


def test_every_public_name_is_documented():
    import byheart

    page = text_of("docs/reference/python.md")
    for name in byheart.__all__:
        if not name.endswith(("Error", "Extra", "Name")):
            assert f"byheart.{name}" in page, name


def test_every_error_is_documented():
    from byheart.core import errors

    page = text_of("docs/reference/errors.md")
    for name in errors.__all__:
        if isinstance(getattr(errors, name), type):
            assert f"`{name}`" in page, name
            assert name in (errors.__doc__ or ""), f"{name} is missing in the tree"


def test_every_extra_is_documented():
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    page = text_of("docs/reference/python.md")
    for extra in project["optional-dependencies"]:
        assert f"`[{extra}]`" in page, extra


def test_every_page_is_in_the_navigation():
    navigation = text_of("mkdocs.yml")
    for page in (ROOT / "docs").rglob("*.md"):
        assert str(page.relative_to(ROOT / "docs")) in navigation, page


def test_every_audit_paper_and_benchmark_has_its_page():
    from byheart.audits import AUDITS
    from byheart.papers import PAPERS

    everything = "\n".join(p.read_text(encoding="utf-8") for p in PAGES)
    for key in PAPERS:
        assert (ROOT / "docs" / "papers" / f"{key}.md").exists(), key
    for name in AUDITS:
        assert f"`{name}`" in everything, name
    for benchmark in (ROOT / "benchmarks").glob("*.py"):
        if not benchmark.name.startswith("_"):
            assert f"benchmarks/{benchmark.name}" in everything, benchmark.name


def test_importing_byheart_is_light():
    code = (
        "import sys, byheart; heavy = {'torch', 'transformers', 'inspect_ai', 'pandas', 'scipy',"
        " 'sklearn', 'numba'} & set(sys.modules); sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
