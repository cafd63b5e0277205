"""The memory tutorial's shell blocks run as written, one after the other, in an empty home."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```console\n(.*?)^```", re.M | re.S)


def run(script, home):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {k: v for k, v in os.environ.items() if not k.startswith("BYHEART_")}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=home, capture_output=True, text=True,
        timeout=240, env={**env, "HOME": str(home), "PATH": path},
    )  # fmt: skip


def test_the_shell_blocks_run_and_say_what_the_page_says(tmp_path):
    page = (ROOT / "docs" / "memory" / "tutorial.md").read_text(encoding="utf-8")
    blocks = [b for b in BLOCK.findall(page) if not b.startswith("pip install")]
    assert len(blocks) >= 6
    marked = []
    for block in blocks:  # each line that promises something is run between marks
        block = re.sub(r"\\\n", "", block)
        marked += [line for line in block.split("\n") if line]
    script = "\n".join(
        f"{line.split('#')[0]}\necho '== {line.split('#', 1)[1].strip()}'"
        if "  # " in line
        else line
        for line in marked
    )
    done = run(script, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    parts = done.stdout.split("== ")
    said = {parts[i + 1].split("\n")[0]: parts[i] for i in range(len(parts) - 1)}

    def best(mark):
        """What the first hit of the line before a mark says."""
        return next(x.strip() for x in said[mark].split("\n") if x.startswith("       "))

    assert best("Oslo") == "Ana lives in Oslo."
    assert best("Rome") == best("Rome again") == "Ana lives in Rome."
    assert "parrot" not in said["nothing found"].split("erased", 1)[1]
    assert best("not in the memory at large yet") == "We take the train to Porto."
    assert "1 edited" in said["the edit supersedes"]
    assert best("Bergen") == "Ana lives in Bergen."
    assert (tmp_path / ".byheart" / "memory.db").exists()


def test_the_readme_begins_alike(tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = (b for b in BLOCK.findall(readme) if "byheart memory write" in b)
    block = "\n".join(line for line in block.split("\n") if not line.startswith("pip install"))
    done = run(block, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "penicillin" in done.stdout


def test_every_verb_and_option_of_a_memory_is_in_the_reference():
    import typer

    from byheart.cli import _register, app

    _register()
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    page = page[page.index("## byheart memory") :]
    memory = typer.main.get_command(app).commands["memory"]
    for group in (memory, memory.commands["cube"]):
        for verb, command in group.commands.items():
            assert re.search(rf"`{verb}\b", page), verb
            for parameter in command.params:
                names = [o for o in parameter.opts if o.startswith("--") and o != "--help"]
                for name in names:
                    assert f"`{name}" in page or name == "--k", f"{verb} {name}"
