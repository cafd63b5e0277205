"""Books from text and EPUB, and files that are none."""

import contextlib
import io
import struct
import zipfile

import pytest

from byheart.audits._sort import epub as epub_module
from byheart.audits.book_sort import Book, ends_sentence, read_book, read_books, read_epub
from byheart.core.errors import DataError, UsageError

CONTAINER = (
    '<?xml version="1.0"?><container version="1.0" '
    'xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/>'
    "</rootfiles></container>"
)
OPF = (
    '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0">'
    '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>A  Day</dc:title></metadata>'
    '<manifest><item id="n" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
    '<item id="two" href="text/c%202.xhtml" media-type="application/xhtml+xml"/>'
    '<item id="one" href="text/c1.xhtml" media-type="application/xhtml+xml"/>'
    '<item id="pic" href="p.svg" media-type="image/svg+xml"/></manifest>'
    '<spine><itemref idref="n"/><itemref idref="one"/><itemref idref="two"/>'
    '<itemref idref="pic"/><itemref idref="one" linear="no"/></spine></package>'
)
ONE = (
    '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.1//EN" '
    '"http://www.w3.org/TR/xhtml11/DTD/xhtml11.dtd"><html><head><title>not this</title>'
    "<style>p {}</style></head><body><h1>CHAPTER I</h1><p>It&nbsp;rained &amp; r<i>ain</i>ed.</p>"
    "<script>alert('no')</script><p>We stayed<br/>in.</p></body></html>"
)
TWO = "<html><body><div>She read.</div><script/><div>He — slept.</div></body></html>"


def epub(path, **changed):
    files = {
        "mimetype": "application/epub+zip", "META-INF/container.xml": CONTAINER,
        "OEBPS/book.opf": OPF, "OEBPS/nav.xhtml": "<html><body>Contents</body></html>",
        "OEBPS/text/c1.xhtml": ONE, "OEBPS/text/c 2.xhtml": TWO,
    }  # fmt: skip
    files.update(changed)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            if content is not None:
                archive.writestr(name, content)
    return path


def test_an_epub_is_read_in_the_order_of_its_spine(tmp_path):
    path = epub(tmp_path / "day.epub")
    title, text = read_epub(path)
    assert title == "A Day"
    assert text == "It rained & rained.\n\nWe stayed in.\n\nShe read.\n\nHe — slept."
    assert "CHAPTER I" in read_epub(path, headings=True)[1]
    book = read_book(path)
    assert (book.title, book.words[:4], book.id) == (
        "A Day",
        ("It", "rained", "&", "rained."),
        "day.epub",
    )
    # what a file is shows in its bytes: the same under a text's name
    assert read_book(epub(tmp_path / "day.txt")).words == book.words


@pytest.mark.parametrize("encoding", ["utf-16", "iso-8859-1", "utf-8-sig"])
def test_chapters_say_their_encoding(tmp_path, encoding):
    told = {"utf-16": "utf-16", "iso-8859-1": "ISO-8859-1", "utf-8-sig": "utf-8"}[encoding]
    markup = f'<?xml version="1.0" encoding="{told}"?><html><body><p>Café noir.</p></body></html>'
    path = epub(tmp_path / "b.epub", **{"OEBPS/text/c1.xhtml": markup.encode(encoding)})
    assert read_epub(path)[1].startswith("Café noir.")


BOMB = "".join(
    ['<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "ha">']
    + [f'<!ENTITY a{i + 1} "{f"&a{i};" * 10}">' for i in range(9)]
    + ["]><container>&a9;</container>"]
)
OUTSIDE = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>'


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"META-INF/container.xml": BOMB}, "declares XML entities"),
        ({"META-INF/container.xml": OUTSIDE}, "declares XML entities"),
        ({"META-INF/container.xml": BOMB.encode("utf-16")}, "declares XML entities"),
        ({"META-INF/container.xml": "<a>"}, "no XML"),
        ({"META-INF/container.xml": "<a/>"}, "names no package file"),
        ({"META-INF/container.xml": None}, "holds no 'META-INF/container.xml'"),
        ({"OEBPS/text/c1.xhtml": None}, "holds no 'OEBPS/text/c1.xhtml'"),
        ({"OEBPS/book.opf": OPF.replace('idref="one"', 'idref="three"')}, "'three', which is no item"),
        ({"OEBPS/book.opf": OPF.replace("text/c1.xhtml", "../../etc/passwd")}, "holds no"),
        ({"OEBPS/text/c1.xhtml": b"\xff\xfa<p>"}, "is not utf-8"),
        ({"OEBPS/text/c1.xhtml": '<?xml encoding="utf-7"?><p>x</p>'}, "encoding 'utf-7'"),
        (
            {"META-INF/encryption.xml": '<e><EncryptionMethod Algorithm="http://x#aes128"/></e>'},
            "DRM",
        ),
        ({"OEBPS/text/c1.xhtml": "<p> </p>", "OEBPS/text/c 2.xhtml": ""}, "holds no text"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)  # fmt: skip
def test_broken_and_hostile_epubs_are_refused(tmp_path, changed, message):
    with pytest.raises(DataError, match=message):
        read_epub(epub(tmp_path / "b.epub", **changed))


def test_fonts_that_are_hidden_do_no_harm(tmp_path):
    fonts = '<e><EncryptionMethod Algorithm="http://www.idpf.org/2008/embedding"/></e>'
    assert read_epub(epub(tmp_path / "b.epub", **{"META-INF/encryption.xml": fonts}))[0] == "A Day"


def test_what_unpacks_to_too_much_is_refused_whatever_it_claims(tmp_path, monkeypatch):
    path = epub(tmp_path / "b.epub", **{"OEBPS/text/c1.xhtml": b"<p>" + b"a" * 300_000})
    monkeypatch.setattr(epub_module, "MAX_MEMBER", 100_000)
    with pytest.raises(DataError, match="unpacks to more than 100,000 bytes"):
        read_epub(path)
    monkeypatch.setattr(epub_module, "MAX_MEMBER", 1 << 20)
    monkeypatch.setattr(epub_module, "MAX_TOTAL", 100_000)  # all together
    with pytest.raises(DataError, match="unpacks to more than"):
        read_epub(path)
    monkeypatch.setattr(epub_module, "MAX_TOTAL", 1 << 20)
    monkeypatch.setattr(epub_module, "MAX_FILES", 3)
    with pytest.raises(DataError, match="more than 3"):
        read_epub(path)


def test_a_locked_or_damaged_archive_is_an_error_and_no_crash(tmp_path):
    whole = epub(tmp_path / "b.epub").read_bytes()
    for cut in range(0, len(whole), 97):
        (tmp_path / "cut.epub").write_bytes(whole[:cut] if cut else b"PK\x03\x04")
        with pytest.raises(DataError):
            read_epub(tmp_path / "cut.epub")
    locked = bytearray(whole)  # bit 0 of the flags says encrypted, here and in the directory
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        i = locked.find(mark)
        while i >= 0:
            struct.pack_into("<H", locked, i + at, 1)
            i = locked.find(mark, i + 4)
    (tmp_path / "locked.epub").write_bytes(bytes(locked))
    with pytest.raises(DataError, match="encrypted"):
        read_epub(tmp_path / "locked.epub")


def test_every_flipped_byte_is_read_or_refused(tmp_path):
    whole = epub(tmp_path / "b.epub").read_bytes()
    path = tmp_path / "flipped.epub"
    for at in range(0, len(whole), 41):
        data = bytearray(whole)
        data[at] ^= 0xFF
        path.write_bytes(bytes(data))
        with contextlib.suppress(DataError):
            assert read_epub(path)[1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b" \n\n ", "empty"),
        (b"CHAPTER I\n\nTHE END", "empty"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "no UTF-8 text"),
        (b"MZ\x00\x00text", "control characters"),
        (b"caf\xe9", "0xe9 at position 3"),
        (b"PK\x03\x04 no archive", "no EPUB"),
    ],
)
def test_files_that_are_no_text_are_named(tmp_path, data, message):
    path = tmp_path / "b.txt"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        read_book(path)
    assert "b.txt" in str(caught.value)


def test_texts_of_other_systems_and_too_large_ones(tmp_path, monkeypatch):
    path = tmp_path / "my_book.txt"
    path.write_bytes("It rained.\r\nWe left.".encode("utf-16"))
    assert read_book(path).words == ("It", "rained.", "We", "left.")
    assert read_book(path).title == "my book"
    monkeypatch.setattr("byheart.audits._sort.books.MAX_BYTES", 10)
    with pytest.raises(DataError, match="a text may have 10"):
        read_book(path)
    with pytest.raises(DataError, match="not there"):
        read_book(tmp_path / "none.txt")
    with pytest.raises(DataError, match="a folder"):
        read_book(tmp_path)


def test_gutenbergs_frame_and_titles_of_chapters_are_taken_off():
    text = (
        "\ufeffThe Project Gutenberg eBook\n\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\n\n"
        "CHAPTER I.\n\nIt rained.\n\nXIV\n\nI left in\nMay.\n\nPart two: The Sea\n\n"
        "Chapter by chapter she read.\n\n12\n\nTHE END\n\n"
        "*** END OF THE PROJECT GUTENBERG EBOOK X ***\n\nlicence"
    )
    assert (
        Book.from_text(text).text(0, 99) == "It rained. I left in May. Chapter by chapter she read."
    )
    assert "CHAPTER I." in Book.from_text(text, headings=True).text(0, 99)
    assert Book.from_text(text).between("I left", "Chapter by").text(0, 9) == "I left in May."
    with pytest.raises(DataError, match="'snow' do not stand"):
        Book.from_text(text).between("snow")


def test_sentences_end_as_the_authors_have_it():
    ends = {"rain.": 1, "rain": 0, "What?”": 1, "Mr.": 0, "mrs.": 0, "St.": 1, "e.g.,": 1, "ah;": 1,
            "3.14": 1, "no:": 0, "Dr.": 0, "Dr.,": 1}  # fmt: skip
    assert {w: int(ends_sentence(w)) for w in ends} == ends
    book = Book.from_text("It rained. Mr. Fox left; he ran")
    assert book.starts.tolist() == [True, False, True, False, False, True, False]
    assert Book.from_events(["a.", "b", "c"]).starts.all()


def test_folders_hold_books_and_no_book_stands_twice(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "b.txt").write_text("It rained.")
    (tmp_path / "in" / "a.md").write_text("It snowed.")
    (tmp_path / "notes.csv").write_text("1,2")
    assert [b.id for b in read_books(tmp_path)] == ["b.txt", "in/a.md"]
    (tmp_path / "in" / "again.txt").write_text("It\nrained.")
    with pytest.raises(DataError, match=r"in/again.txt and b.txt are the same book"):
        read_books([tmp_path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no book"):
        read_books(tmp_path / "empty")
    with pytest.raises(UsageError, match="no book is named"):
        read_books([])


def test_no_reading_goes_beyond_the_bound():
    class Endless(io.RawIOBase):
        asked = 0

        def read(self, size=-1):
            assert size >= 0
            Endless.asked += size
            return b"x" * size

    assert len(epub_module._bounded(Endless(), 1000)) == 1001
    assert Endless.asked == 1001
