"""One class a system for `memory_peers.py`, and the process that measures it.

Run by the driver, each in a process and (peers) an environment of its own:
python _memory_adapters.py PEER PHASE JOB.json
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

os.environ.update(
    MEM0_TELEMETRY="False", ANONYMIZED_TELEMETRY="False", CHROMA_TELEMETRY="False",
    HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false",
    LITELLM_LOCAL_MODEL_COST_MAP="True",
)  # fmt: skip
K = 10
QUALITY = 0.975
"""Of the ten nearest so many are found, where searches by vector alone are compared."""


class Lookup:
    """The same function from texts to vectors for everyone: they were computed before."""

    name, version = "given", "1"

    def __init__(self, at: dict[str, int], vectors: np.ndarray) -> None:
        self.at, self.vectors = at, vectors

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        # a text that is not among them (a peer's probe) gets the vector of the first
        return np.array(self.vectors[[self.at.get(t, 0) for t in texts]])


class Peer:
    """What is asked of every system.

    Args:
        folder: Its own, empty at first.
        lookup: Texts to vectors.
    """

    packages: tuple[str, ...] = ()
    bulk_size = 1000
    note = ""

    def __init__(self, folder: Path, lookup: Lookup) -> None:
        self.folder, self.lookup = folder, lookup
        self.open()

    def open(self) -> None:
        """Open what is in the folder, or make it."""
        raise NotImplementedError

    def bulk(self, numbers: range, texts: list[str]) -> None:
        """Take in some texts at once."""
        for n, text in zip(numbers, texts, strict=True):
            self.write(n, text)

    def write(self, number: int, text: str) -> None:
        """Take in one text; returned when the system says it is kept."""
        raise NotImplementedError

    def settle(self) -> None:
        """Until everything written is found at full speed."""

    def ask(self, text: str) -> list[int]:
        """The numbers of the ten best."""
        raise NotImplementedError

    def nearest(self, text: str) -> list[int]:
        """The numbers of the ten nearest by vector."""
        return self.ask(text)

    def sharpen(self) -> bool:
        """Search more thoroughly from now on; False if that cannot be asked for."""
        return False

    def close(self) -> None:
        """Close it."""


class Byheart(Peer):
    """`SqliteStore`: words and vectors together."""

    packages = ("byheart", "usearch")
    note = "words and vectors"

    def open(self) -> None:
        from byheart.core.item import Item
        from byheart.stores._embedder import Embedder
        from byheart.stores.sqlite import SqliteStore

        self.item = Item
        embedder = Embedder(self.lookup, self.lookup.name, self.lookup.version)
        self.store = SqliteStore(self.folder / "m.db", "bench/one", embedder=embedder)

    def bulk(self, numbers: range, texts: list[str]) -> None:
        self.store.write([self.item(t, id=str(n)) for n, t in zip(numbers, texts, strict=True)])

    def write(self, number: int, text: str) -> None:
        self.store.write([self.item(text, id=str(number))])

    def settle(self) -> None:
        self.store.embed()
        self.store.recall("hello", K)

    def ask(self, text: str) -> list[int]:
        return [int(hit.item.id) for hit in self.store.recall(text, K)]

    def nearest(self, text: str) -> list[int]:
        store, vector = self.store, self.lookup([text])[0]
        with store._c.reading() as conn:
            scopes, embedder = store._scope_ids(conn), store._embedder_id()
            store._vectors.prepare(conn, embedder, scopes)
            rows, _ = store._vectors.nearest(conn, vector, 64)
            exact = store._vectors.cosines(conn, embedder, rows.tolist()[: 3 * K], vector)
            best = sorted(exact, key=lambda r: -exact[r])[:K]
            items = store._kept.items(conn, best)
        return [int(items[r].id) for r in best]

    def close(self) -> None:
        self.store.close()


class Naive(Peer):
    """SQLite for texts and vectors, all compared by numpy."""

    packages = ("numpy",)
    note = "exact, all in memory"

    def open(self) -> None:
        self.conn = sqlite3.connect(self.folder / "naive.db", isolation_level=None)
        self.conn.execute("PRAGMA journal_mode=WAL")
        self.conn.execute("PRAGMA synchronous=FULL")
        self.conn.execute("CREATE TABLE IF NOT EXISTS notes(id INTEGER PRIMARY KEY, text TEXT, vector BLOB)")  # fmt: skip
        self.ids: np.ndarray | None = None

    def _insert(self, number: int, text: str) -> None:
        self.conn.execute("INSERT INTO notes VALUES(?,?,?)", (number, text, self.lookup([text])[0].tobytes()))  # fmt: skip

    def bulk(self, numbers: range, texts: list[str]) -> None:
        self.conn.execute("BEGIN")
        for n, text in zip(numbers, texts, strict=True):
            self._insert(n, text)
        self.conn.execute("COMMIT")

    def write(self, number: int, text: str) -> None:
        self._insert(number, text)
        self.ids = None

    def ask(self, text: str) -> list[int]:
        if self.ids is None:
            rows = self.conn.execute("SELECT id, vector FROM notes ORDER BY id").fetchall()
            self.ids = np.array([r[0] for r in rows])
            self.table = np.frombuffer(b"".join(r[1] for r in rows), np.float32).reshape(len(rows), -1)  # fmt: skip
        near = self.table @ self.lookup([text])[0]
        top = np.argpartition(-near, K)[:K]
        best = self.ids[top[np.argsort(-near[top])]].tolist()
        marks = ",".join(map(str, best))
        self.conn.execute(f"SELECT text FROM notes WHERE id IN ({marks})").fetchall()
        return best

    def close(self) -> None:
        self.conn.close()


class Chroma(Peer):
    """Chroma's persistent client."""

    packages = ("chromadb",)
    breadth = 100  # as it comes
    bulk_size = 5000

    def open(self) -> None:
        import chromadb
        from chromadb.config import Settings

        settings = Settings(anonymized_telemetry=False)
        self.client = chromadb.PersistentClient(path=str(self.folder), settings=settings)
        self.notes = self.client.get_or_create_collection(
            "notes", embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )

    def sharpen(self) -> bool:
        from chromadb.api.shared_system_client import SharedSystemClient

        self.breadth *= 2
        self.notes.modify(configuration={"hnsw": {"ef_search": self.breadth}})
        SharedSystemClient.clear_system_cache()  # it is read when the index is opened
        self.open()
        self.ask("warm")
        return self.breadth <= 1600

    def bulk(self, numbers: range, texts: list[str]) -> None:
        self.notes.add(
            ids=[str(n) for n in numbers], documents=texts, embeddings=self.lookup(texts)
        )

    def write(self, number: int, text: str) -> None:
        self.notes.add(ids=[str(number)], documents=[text], embeddings=self.lookup([text]))

    def ask(self, text: str) -> list[int]:
        found = self.notes.query(query_embeddings=self.lookup([text]), n_results=K)
        return [int(i) for i in found["ids"][0]]


class Lance(Peer):
    """LanceDB: an IVF index with HNSW and scalar quantisation from 10,000 on, refined."""

    packages = ("lancedb",)
    bulk_size = 10_000

    def open(self) -> None:
        import lancedb

        self.db = lancedb.connect(str(self.folder))
        names = self.db.table_names()
        self.table: Any = self.db.open_table("notes") if "notes" in names else None

    def _rows(self, numbers: Sequence[int], texts: list[str]) -> list[dict[str, Any]]:
        vectors = self.lookup(texts)
        return [{"id": n, "text": t, "vector": v} for n, t, v in zip(numbers, texts, vectors, strict=True)]  # fmt: skip

    def bulk(self, numbers: range, texts: list[str]) -> None:
        if self.table is None:
            self.table = self.db.create_table("notes", self._rows(numbers, texts))
        else:
            self.table.add(self._rows(numbers, texts))

    def write(self, number: int, text: str) -> None:
        self.table.add(self._rows([number], [text]))

    def settle(self) -> None:
        if self.table.count_rows() >= 10_000 and not self.table.list_indices():
            self.table.create_index(metric="cosine", index_type="IVF_HNSW_SQ", vector_column_name="vector")  # fmt: skip
        self.table.optimize()

    def ask(self, text: str) -> list[int]:
        search = self.table.search(self.lookup([text])[0]).distance_type("cosine").limit(K)
        if self.table.list_indices():
            search = search.nprobes(20).ef(200).refine_factor(4)
        return [r["id"] for r in search.select(["id", "text"]).to_list()]


class Mem0(Peer):
    """mem0 without inference, over its local Qdrant."""

    packages = ("mem0ai", "qdrant-client")
    bulk_size = 100
    note = "infer=False"

    def open(self) -> None:
        os.environ.setdefault("OPENAI_API_KEY", "none")  # asked for, never used without inference
        os.environ["MEM0_DIR"] = str(self.folder / "mem0")
        from mem0 import Memory

        self.memory = Memory.from_config({
            "vector_store": {"provider": "qdrant", "config": {
                "path": str(self.folder / "qdrant"), "on_disk": True, "embedding_model_dims": 384,
                "collection_name": "notes"}},
            "history_db_path": str(self.folder / "history.db"),
        })  # fmt: skip
        lookup = self.lookup

        class Given:
            config = None

            def embed(self, text: str, memory_action: str | None = None) -> list[float]:
                return lookup([text])[0].tolist()

            def embed_batch(self, texts: list[str], memory_action: str | None = None) -> list:
                return lookup(texts).tolist()

        self.memory.embedding_model = Given()

    def write(self, number: int, text: str) -> None:
        self.memory.add(text, user_id="one", infer=False, metadata={"n": number})

    def ask(self, text: str) -> list[int]:
        found = self.memory.search(text, filters={"user_id": "one"}, top_k=K, threshold=0.0)
        return [r["metadata"]["n"] for r in found["results"]]

    def close(self) -> None:
        self.memory.vector_store.client.close()


class AMem(Peer):
    """a-mem from PyPI; its model answers "nothing to evolve" at once."""

    packages = ("a-mem", "chromadb")
    bulk_size = 100
    note = "its model's time counted as 0"

    def open(self) -> None:
        os.environ.setdefault("OPENAI_API_KEY", "none")
        import agentic_memory.retrievers as retrievers
        from agentic_memory.memory_system import AgenticMemorySystem
        from chromadb import EmbeddingFunction

        lookup = self.lookup

        class Given(EmbeddingFunction):
            def __init__(self, model_name: str = "") -> None:
                pass

            def __call__(self, input: list[str]) -> list[np.ndarray]:
                return list(lookup([t.split(" context: ")[0] for t in input]))

            @staticmethod
            def name() -> str:
                return "given"

            def get_config(self) -> dict[str, Any]:
                return {}

            @staticmethod
            def build_from_config(config: dict[str, Any]) -> Given:
                return Given()

        retrievers.SentenceTransformerEmbeddingFunction = Given
        self.system = AgenticMemorySystem(storage_path=str(self.folder))
        none = {"should_evolve": False, "actions": [], "suggested_connections": [],
                "tags_to_update": [], "new_context_neighborhood": [], "new_tags_neighborhood": []}  # fmt: skip
        self.system.llm_controller.llm.get_completion = lambda *a, **k: json.dumps(none)

    def write(self, number: int, text: str) -> None:
        self.system.add_note(text, id=str(number), keywords=["k"], tags=["t"], context="a note")

    def ask(self, text: str) -> list[int]:
        return [int(r["id"]) for r in self.system.search(text, k=K)]


PEERS: dict[str, type[Peer]] = {
    "byheart": Byheart, "naive": Naive, "chromadb": Chroma, "lancedb": Lance, "mem0": Mem0,
    "a-mem": AMem,
}  # fmt: skip


def on_disk(folder: Path) -> int:
    """Bytes that the file system gave to the folder's files."""
    return sum(f.stat().st_blocks * 512 for f in folder.rglob("*") if f.is_file())


def fill(peer: str, job: dict[str, Any]) -> dict[str, Any]:
    """Bulk import, then single writes, each timed."""
    texts, lookup = data(job)
    n, single, limit = job["n"], job["single"], job["limit_s"]
    begin = time.perf_counter()
    system = PEERS[peer](Path(job["folder"]), lookup)
    out: dict[str, Any] = {"versions": {p: version(p) for p in PEERS[peer].packages}}
    step = PEERS[peer].bulk_size
    for at in range(0, n, step):
        numbers = range(at, min(n, at + step))
        system.bulk(numbers, texts[at : numbers.stop])
        if time.perf_counter() - begin > limit:
            out["stopped"] = f"after {limit} s at {numbers.stop} of {n} items"
            out["bulk_per_s"] = numbers.stop / (time.perf_counter() - begin)
            print(json.dumps(out))
            sys.stdout.flush()
            os._exit(0)
    out["bulk_per_s"] = n / (time.perf_counter() - begin)
    system.settle()
    out["bulk_settled_per_s"] = n / (time.perf_counter() - begin)
    out["import_s"] = time.perf_counter() - begin
    times = []
    begin = time.perf_counter()
    for number in range(n, n + single):
        start = time.perf_counter()
        system.write(number, texts[number])
        times.append(time.perf_counter() - start)
        if time.perf_counter() - begin > limit / 4:
            break
    out["writes"] = len(times)
    out["writes_per_s"] = len(times) / sum(times)
    out["write_ms"] = [float(x) for x in np.percentile(times, [50, 95]) * 1e3]
    for number in range(n + len(times), n + single):  # the rest, for the same answers
        system.write(number, texts[number])
    start = time.perf_counter()
    system.settle()
    out["writes_settled_per_s"] = single / (sum(times) * single / len(times) + time.perf_counter() - start)  # fmt: skip
    system.close()
    return out


def ask(peer: str, job: dict[str, Any]) -> dict[str, Any]:
    """Open, first recall, recalls, quality."""
    texts, lookup = data(job)
    queries = texts[-job["queries"] :]
    truth = np.load(job["truth"])
    begin = time.perf_counter()
    system = PEERS[peer](Path(job["folder"]), lookup)
    opened = time.perf_counter()
    system.ask(queries[0])
    out: dict[str, Any] = {
        "open_ms": (opened - begin) * 1e3,
        "start_ms": (time.perf_counter() - begin) * 1e3,
    }
    for name in ("cold", "recall"):  # first time through, then what a process that stays sees
        wall, cpu = [], []
        for q in queries:
            a, b = time.perf_counter(), time.process_time()
            system.ask(q)
            wall.append(time.perf_counter() - a)
            cpu.append(time.process_time() - b)
        out[f"{name}_ms"] = [float(x) for x in np.percentile(wall, [50, 95]) * 1e3]
        out[f"{name}_cpu_ms"] = [float(x) for x in np.percentile(cpu, [50, 95]) * 1e3]
    out["recall_at_10"] = quality(system, queries, truth)
    out["by_vector_at_10"] = out["recall_at_10"]
    while out["by_vector_at_10"] < QUALITY and system.sharpen():
        out["by_vector_at_10"] = quality(system, queries, truth)
    if out["by_vector_at_10"] >= QUALITY:
        wall = []
        for q in queries:
            a = time.perf_counter()
            system.nearest(q)
            wall.append(time.perf_counter() - a)
        out["by_vector_ms"] = [float(x) for x in np.percentile(wall, [50, 95]) * 1e3]
    system.close()
    out["bytes_per_item"] = on_disk(Path(job["folder"])) / (job["n"] + job["single"])
    return out


def quality(system: Peer, queries: list[str], truth: np.ndarray) -> float:
    """Of the ten nearest by vector, which part is found."""
    met = [len(set(system.nearest(q)) & set(t)) for q, t in zip(queries, truth.tolist(), strict=True)]  # fmt: skip
    return float(np.mean(met)) / K


def sync(peer: str, job: dict[str, Any]) -> dict[str, Any]:
    """Twenty writes between two marks, to be watched by strace."""
    texts, lookup = data(job)
    system = PEERS[peer](Path(job["folder"]), lookup)
    system.bulk(range(100), texts[:100])
    time.sleep(0.5)
    os.access("/byheart-bench-begin", os.F_OK)
    for number in range(100, 120):
        system.write(number, texts[number])
    os.access("/byheart-bench-end", os.F_OK)
    os._exit(0)


def data(job: dict[str, Any]) -> tuple[list[str], Lookup]:
    """Texts and vectors of a job: items, single writes, queries."""
    with open(job["texts"], encoding="utf-8") as file:
        texts = [
            line.rstrip("\n")
            for line, _ in zip(file, range(job["n"] + job["single"]), strict=False)
        ]
    at = {t: i for i, t in enumerate(texts)}
    queries = Path(job["queries_file"]).read_text(encoding="utf-8").splitlines()
    at.update({q: job["first_query"] + i for i, q in enumerate(queries)})
    return texts + queries, Lookup(at, np.load(job["vectors"], mmap_mode="r"))


if __name__ == "__main__":
    peer, phase, path = sys.argv[1:]
    print(json.dumps({"fill": fill, "ask": ask, "sync": sync}[phase](peer, json.loads(Path(path).read_text()))))  # fmt: skip
