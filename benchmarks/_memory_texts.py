"""Real English sentences for `memory_peers.py`, out of Debian's documentation packages.

Webster's dictionary of 1913 with its quotations, Jane Austen's novels, WordNet's glosses, and the
manuals of the kernel, Python, Java, Perl, Erlang, PostgreSQL, SQLite, Emacs, git, Boost, Octave and
LibreOffice: fetched by `apt-get download`, unpacked without being installed, cut to sentences,
each kept once, in an order drawn by its hash (so that any first part is a mixture).
"""

from __future__ import annotations

import gzip
import hashlib
import html
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

PACKAGES = (
    "dict-gcide", "r-cran-janeaustenr", "wordnet-base", "dict-foldoc", "dict-jargon", "fortunes",
    "linux-doc-6.1", "python3.11-doc", "openjdk-17-doc", "perl-doc", "erlang-doc", "sqlite3-doc",
    "postgresql-doc-15", "git-doc", "libreoffice-help-en-us", "octave-doc", "manpages",
    "manpages-dev", "libboost1.74-doc", "emacs-common",
)  # fmt: skip

_TAGS = re.compile(r"<(script|style)\b.*?</\1>|<pre\b.*?</pre>", re.S | re.I)
_BLOCK = re.compile(r"</?(p|div|li|td|th|tr|h\d|dt|dd|br|ul|ol|table|title|section)\b[^>]*>", re.I)
_TAG = re.compile(r"<[^>]{0,500}>")
_END = re.compile(r"(?<=[.!?;])[\"')\]]*\s+(?=[\"'(\[]*[A-Z0-9])|\n\s*\n")
_SPACE = re.compile(r"\s+")
_MACRO = re.compile(r"^[.'].*$|\\f[BIRP]|\\&", re.M)
_LETTERS = re.compile(r"[a-z]{2,}")
_CODE = re.compile(r"\w\(|\\|[a-z]_[a-z]|::|\.java|java\.|</|&|[\x00-\x1f\x7f-\x9f\ufffd]")


def sentences(raw: str) -> Iterator[str]:
    """Sentences of 5 to 60 words that are words and no code."""
    for piece in _END.split(raw):
        text = _SPACE.sub(" ", piece).strip(" *|#-=_\t")
        words = text.split(" ")
        if (
            5 <= len(words) <= 60
            and len(text) <= 400
            and not _CODE.search(text)
            and sum(bool(_LETTERS.search(w)) for w in words) >= 0.75 * len(words)
        ):
            yield text


def text_of(path: Path) -> str:
    """Plain text of a file; empty for what is none."""
    name = path.name.lower()
    if path.is_symlink() or not path.is_file():
        return ""
    if name.endswith((".gz", ".dz")):
        try:
            raw = gzip.decompress(path.read_bytes())
        except (OSError, EOFError):
            return ""
        name = name.rsplit(".", 1)[0] + (".txt" if name.endswith(".dz") else "")
    elif name.endswith(
        (".html", ".htm", ".xhtml", ".txt", ".rst", ".adoc", ".pod", ".noun", ".verb", ".adj", ".adv", ".texi")
    ) or "games/fortunes" in str(path):  # fmt: skip
        raw = path.read_bytes()
    else:
        return ""
    text = raw.decode("utf-8", "replace")
    if "\0" in text[:2000]:
        return ""
    if name.endswith((".html", ".htm", ".xhtml")):
        text = _TAGS.sub(" ", text)
        text = html.unescape(_TAG.sub("", _BLOCK.sub("\n\n", text.replace("\n", " "))))
    elif re.search(r"\.\d\w*$", name):
        text = _MACRO.sub("", text)
    elif name.startswith("data."):  # WordNet: the gloss stands behind a bar
        lines = [line.partition(" | ")[2] for line in text.splitlines() if " | " in line]
        text = "\n\n".join(part.strip(' "') for line in lines for part in line.split("; "))
    elif "games/fortunes" in str(path):
        text = text.replace("%\n", "\n\n")
    return text


def austen(folder: Path) -> Iterator[str]:
    """The novels lie in an R database: compressed pieces behind four bytes of length."""
    import zlib

    for path in folder.rglob("*.rdb"):
        raw = path.read_bytes()
        for at in (m.start() for m in re.finditer(rb"x[\x01\x5e\x9c\xda]", raw)):
            try:
                text = zlib.decompressobj().decompress(raw[at:])
            except zlib.error:
                continue
            if len(text) > 10_000:
                lines = re.findall(rb"\x00\x04\x00\x09....([^\x00]*)", text, re.S)
                yield b"\n".join(lines).decode("latin-1", "replace")


def fetch(folder: Path) -> Path:
    """Download and unpack what is not there yet; needs apt and a Debian mirror.

    Raises:
        SystemExit: There is no apt here; says how to give texts of one's own.
    """
    debs, out = folder / "debs", folder / "unpacked"
    debs.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        if (out / package).exists():
            continue
        if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
            raise SystemExit(
                "the texts come from Debian packages and apt-get is not here; give a file with one "
                "text a line: --texts FILE"
            )
        if not list(debs.glob(f"{package}_*.deb")):
            done = subprocess.run(["apt-get", "download", package], cwd=debs, capture_output=True)
            if done.returncode:
                print(f"  {package}: not fetched ({done.stderr.decode()[-200:].strip()})")
                continue
        (deb,) = sorted(debs.glob(f"{package}_*.deb"))[:1]
        subprocess.run(["dpkg", "-x", str(deb), str(out / package)], check=True)
    return out


def gather(folder: Path) -> Path:
    """The file with one distinct sentence a line, made once."""
    done = folder / "texts.txt"
    if done.exists():
        return done
    unpacked = fetch(folder)
    found: dict[bytes, str] = {}
    for package in sorted(p for p in unpacked.iterdir() if p.is_dir()):
        before = len(found)
        raws = (text_of(p) for p in sorted(package.rglob("*")))
        for raw in raws if package.name != "r-cran-janeaustenr" else austen(package):
            for text in sentences(raw):
                key = hashlib.blake2b(text.lower().encode(), digest_size=12).digest()
                found.setdefault(key, text)
        print(f"  {package.name}: {len(found) - before} sentences", flush=True)
    part = done.with_suffix(".part")
    with open(part, "w", encoding="utf-8") as file:
        file.writelines(found[key] + "\n" for key in sorted(found))
    part.replace(done)
    return done
