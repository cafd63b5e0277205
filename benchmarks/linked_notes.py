"""Linked notes: what searching N vectors costs (A-MEM's Table 4), and writes beside a-mem from PyPI.

Run: python benchmarks/linked_notes.py [--large] [--notes N]

Vectors: synthetic, 384 numbers, around 256 centres (embeddings crowd; white noise is a harder case for
a graph and none that occurs). Exact is one numpy product and a partial sort; HNSW is usearch's with
its defaults. 10^3 to 10^5; --large adds 10^6, whose graph takes an hour on two cores.

Writes: each note is annotated and linked by a script that costs nothing, and embedded by a hash of
its words, so that what is left is the memory's own work: finding neighbours, writing, indexing. ours
is on disk when `write` returns. a-mem 0.2.6 (pip install a-mem, a fork of the authors' library) runs
where it is installed, best in a throw-away environment beside byheart; its embedding function and
its language model are replaced by the same ones.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

os.environ.update(
    ANONYMIZED_TELEMETRY="False", HF_HUB_OFFLINE="1", LITELLM_LOCAL_MODEL_COST_MAP="True"
)

from byheart.core.item import Item
from byheart.notes.annotate import Annotation
from byheart.notes.linked import Decision, LinkedNotes
from byheart.papers._amem_scaling import PAPER_US, scale

D = 384


def embed(texts: list[str]) -> np.ndarray:
    """`[N, 384]` unit vectors: a bag of hashed words."""
    rows = np.zeros((len(texts), D), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        for word in text.lower().split():
            row[
                int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "big") % D
            ] += 1
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def texts(n: int) -> list[str]:
    """Notes of twelve words out of two thousand."""
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(2000)])
    return [" ".join(rng.choice(words, 12)) for _ in range(n)]


def clocks() -> np.ndarray:
    """Wall and processor seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def ours(notes: list[str], folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Wall and processor seconds for all notes one by one, and in one batch."""
    annotate = lambda content, **_: Annotation(("a", "b"), ("c",), "Given.", by="script")  # noqa: E731
    link = lambda note, near: Decision((0,))  # noqa: E731
    took = []
    for name in ("single", "batch"):
        with LinkedNotes(folder / f"{name}.db", embed, annotator=annotate, linker=link) as memory:
            memory.write("the first note, which opens everything")
            begin = clocks()
            if name == "single":
                for text in notes:
                    memory.write(text)
            else:
                memory.write_many([Item(t) for t in notes])
            took.append(clocks() - begin)
            assert len(memory.notes()) == len(notes) + 1
    return took[0], took[1]


def theirs(notes: list[str], folder: Path) -> np.ndarray:
    """Wall and processor seconds for all notes by a-mem, one by one."""
    from agentic_memory import memory_system, retrievers  # type: ignore[import-not-found]

    class Function:
        def __init__(self, model_name: str = "") -> None:
            pass

        def __call__(self, input: list[str]) -> list[np.ndarray]:
            return list(embed(input))

        embed_query = __call__

        @staticmethod
        def name() -> str:
            return "hashed"

        def is_legacy(self) -> bool:
            return True

        def default_space(self) -> str:
            return "cosine"

        def supported_spaces(self) -> list[str]:
            return ["cosine"]

    class Script:
        def __init__(self, *_: object, **__: object) -> None:
            self.llm = self

        def get_completion(self, *_: object, **__: object) -> str:
            return json.dumps({
                "should_evolve": False, "actions": [], "suggested_connections": [],
                "tags_to_update": [], "new_context_neighborhood": [], "new_tags_neighborhood": [],
            })  # fmt: skip

    retrievers.SentenceTransformerEmbeddingFunction = Function
    memory_system.LLMController = Script
    memory = memory_system.AgenticMemorySystem(storage_path=str(folder / "chroma"))
    known = {"keywords": ["a", "b"], "tags": ["c"], "context": "Given."}
    memory.add_note("the first note, which opens everything", **known)
    begin = clocks()
    for text in notes:
        memory.add_note(text, **known)
    return clocks() - begin


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--large", action="store_true", help="also a million vectors")
    parser.add_argument("--notes", type=int, default=300, help="notes that are written")
    parser.add_argument("--skip-vectors", action="store_true", help="only the writes")
    chosen = parser.parse_args()
    if not chosen.skip_vectors:
        print("| vectors | MiB | exact, us | HNSW, us | recall@10 | graph built, s | paper, us |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for n in (1_000, 10_000, 100_000, 1_000_000) if chosen.large else (1_000, 10_000, 100_000):
            s = scale(n)
            assert s.bytes == n * D * 4
            print(
                f"| {n:,} | {s.bytes / 2**20:.2f} | {s.exact_us:,.0f} | {s.graph_us:,.0f} | "
                f"{s.recall:.3f} | {s.build_s:,.0f} | {PAPER_US[n]} |",
                flush=True,
            )
    notes = texts(chosen.notes)
    with tempfile.TemporaryDirectory() as folder:
        single, batch = ours(notes, Path(folder))
        print(f"\n{len(notes)} notes written, no language model, one by one unless said:")
        told("byheart LinkedNotes, on disk each", single, len(notes))
        told("byheart LinkedNotes, write_many", batch, len(notes))
        if importlib.util.find_spec("agentic_memory") is None:
            print("- a-mem: not run, it is not installed (pip install a-mem)")
            return
        peer = theirs(notes, Path(folder))
        told(f"a-mem {importlib.metadata.version('a-mem')}", peer, len(notes))
        wall, busy = peer / single
        print(
            f"- ratio, a-mem / byheart, one by one: {wall:.1f} in time, {busy:.1f} in processor time"
        )


def told(name: str, took: np.ndarray, n: int) -> None:
    """A line of figures."""
    wall, busy = took
    print(f"- {name}: {n / wall:,.0f} notes/s; {1000 * busy / n:.1f} ms of processor time a note")


if __name__ == "__main__":
    main()
