"""What `Memory.recall` ranks by, against `NoteSearch` over everything as the oracle."""

from __future__ import annotations

import os
import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from byheart import Item, Memory
from byheart.core.memory import Candidate, Candidates
from byheart.core.spoken import spoken
from byheart.notes import MiniLM, NoteSearch
from byheart.notes._locomo_data import Conversation, Question, Turn, read
from byheart.notes._locomo_methods import as_notes, in_memory
from byheart.notes.ranker import NoteRanker, _normal_least, note_of

BESIDE = Path(__file__).parents[3] / "shared" / "data" / "locomo"
DATA = Path(os.environ.get("BYHEART_LOCOMO") or BESIDE)
needs_data = pytest.mark.skipif(
    not (DATA / "baselines.json").is_file(),
    reason="LoCoMo is not here: set BYHEART_LOCOMO to its folder (CC BY-NC, not shipped)",
)

PEOPLE = ("Ann", "Bob")
THINGS = [
    "violin",
    "boat",
    "garden",
    "recipe",
    "guitar",
    "bicycle",
    "painting",
    "telescope",
    "novel",
    "kettle",
    "tent",
    "piano",
]
VERBS = ["bought", "sold", "repaired", "lost", "found", "painted", "borrowed", "cleaned"]
PLACES = ["Bern", "Oslo", "Lima", "Kyoto", "Quito", "Malta", "Dover", "Turin", "Split", "Graz"]
CHAT = (
    "How are you?",
    "It rains today.",
    "That is great!",
    "Nice to hear.",
    "I was at work last week.",
)


class Toy:
    """Texts to vectors: a few hundred hashed letters triples; says how much it embedded."""

    name, version = "toy", "1"

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, texts: list[str]) -> np.ndarray:
        self.texts += texts
        rows = np.full((len(texts), 128), 0.01, np.float32)
        for row, text in zip(rows, texts, strict=True):
            low = f" {text.lower()} "
            for i in range(len(low) - 2):
                a, b, c = low[i : i + 3].encode()[:3].ljust(3)
                row[(a * 31 + b * 7 + c) % 128] += 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def conversation(sessions: int, turns: int, seed: int = 3) -> Conversation:
    """Made-up talk in which facts lie among chat; each question names words of one fact."""
    draw = random.Random(seed)
    said, questions = [], []
    day = datetime(2023, 1, 2, 10, 0)
    for session in range(1, sessions + 1):
        day += timedelta(days=draw.randint(1, 9))
        stamp = f"{day.hour}:00 am on {day.day} {day:%B}, {day.year}"
        for i in range(turns):
            who, at = draw.choice(PEOPLE), len(said)
            verb, thing, place = draw.choice(VERBS), draw.choice(THINGS), draw.choice(PLACES)
            number = f"{draw.randint(10, 999)}"
            text = draw.choice(CHAT)
            if draw.random() < 0.4:
                text = f"I {verb} a {thing} number {number} in {place}. {text}"
                if draw.random() < 0.3:
                    asked = draw.choice(
                        [
                            f"Where has {who} {verb} the {thing} number {number}?",
                            f"What did {who} do with a {thing} in {place}?",
                            f"Which {thing} was it on {day.day} {day:%B} {day.year}?",
                        ]
                    )
                    questions.append(Question(asked, place, 4, (at,)))
            said.append(Turn(f"D{session}:{i}", who, text, "", session, stamp))
    return Conversation(f"made-up-{seed}", tuple(said), tuple(questions), 0)


def agreement(talk, encode, path, questions, **options):
    """Share of questions with the same ten first, and both means of evidence recall at ten."""
    whole = NoteSearch(as_notes(talk), encode=encode)
    found = in_memory(talk, encode, path, **options)
    same, ours, theirs = [], [], []
    for question in questions:
        a = [int(m.note.id) for m in whole.search(question.text, 10)]
        b = found(question.text)[:10]
        gold = set(question.evidence)
        same.append(a == b)
        theirs.append(100 * len(gold & set(a)) / len(gold))
        ours.append(100 * len(gold & set(b)) / len(gold))
    return np.mean(same), np.mean(ours), np.mean(theirs)


@pytest.mark.parametrize("encode", [None, Toy()], ids=["words", "hybrid"])
def test_a_small_scope_is_ranked_as_notesearch_ranks_everything(tmp_path, encode):
    talk = conversation(12, 25)
    same, ours, theirs = agreement(talk, encode, tmp_path / "m.db", talk.questions)
    assert len(talk.questions) > 25
    assert same >= 0.98
    assert ours == pytest.approx(theirs, abs=0.5)
    assert theirs > 50


@pytest.mark.parametrize("encode", [None, Toy()], ids=["words", "hybrid"])
def test_a_large_scope_finds_what_notesearch_over_everything_finds(tmp_path, encode):
    talk = conversation(60, 40)
    assert len(talk.turns) > NoteRanker().whole
    questions = talk.questions[:120]
    _, ours, theirs = agreement(talk, encode, tmp_path / "m.db", questions)
    assert len(questions) == 120
    assert ours >= theirs - 2.5  # one question is 0.8 points


@pytest.mark.parametrize("whole", [1000, 0], ids=["whole", "candidates"])
def test_postgres_ranks_as_the_file_does(tmp_path, postgres, whole):
    talk = conversation(8, 25, seed=5)
    encode = Toy()
    file = in_memory(talk, encode, tmp_path / "m.db", ranker=NoteRanker(whole=whole))
    server = in_memory(talk, encode, postgres.place(), ranker=NoteRanker(whole=whole))
    asked = [q.text for q in talk.questions] + ["What happened in January 2023?"]
    assert len(asked) > 10
    same = [file(q)[:10] == server(q)[:10] for q in asked]
    assert np.mean(same) >= 0.9  # pgvector's cosines differ in the last digits


@needs_data
def test_recall_on_locomo_is_notesearch_by_words(tmp_path):
    whole, parts = [], []
    for i, talk in enumerate(read(DATA)):
        whole.append(agreement(talk, None, tmp_path / f"{i}.db", talk.questions[::4]))
        large = {"ranker": NoteRanker(whole=0)}  # as if there were too many to rank them all
        parts.append(agreement(talk, None, tmp_path / f"{i}c.db", talk.questions[::4], **large))
    same, ours, theirs = np.mean(whole, axis=0)
    assert same >= 0.98
    assert ours == pytest.approx(theirs, abs=0.5)
    _, ours, theirs = np.mean(parts, axis=0)
    assert ours == pytest.approx(theirs, abs=2)


@needs_data
@pytest.mark.slow
def test_recall_on_locomo_is_notesearch(tmp_path):
    mini = MiniLM()
    kept: dict[str, np.ndarray] = {}

    def encode(texts: list[str]) -> np.ndarray:
        fresh = [t for t in dict.fromkeys(texts) if t not in kept]
        kept.update(zip(fresh, mini(fresh), strict=True))
        return np.stack([kept[t] for t in texts])

    found, parts = [], []
    for i, talk in enumerate(read(DATA)):
        asked = [q for q in talk.questions if q.category != 5]
        found.append((len(asked), *agreement(talk, encode, tmp_path / f"{i}.db", asked)))
        large = {"ranker": NoteRanker(whole=0)}
        parts.append((len(asked), *agreement(talk, encode, tmp_path / f"{i}c.db", asked, **large)))
    n = [f[0] for f in found]
    same, ours, theirs = np.average([f[1:] for f in found], axis=0, weights=n)
    assert same >= 0.98
    assert ours == pytest.approx(theirs, abs=0.5)
    assert ours > 81
    _, ours, theirs = np.average([p[1:] for p in parts], axis=0, weights=n)
    assert ours == pytest.approx(theirs, abs=0.5)


def test_a_time_in_the_query_reaches_items_that_share_no_word(tmp_path):
    with Memory(tmp_path / "m.db") as memory:
        days = [date(2020, 1, 1) + timedelta(days=i) for i in range(1500)]
        memory.write([Item("the same old story", valid_from=d) for d in days])
        wanted = memory.write("Nobody expected it.", valid_from="2023-05-17").id
        hits = memory.recall("What happened on 17 May 2023?", 3)
        assert hits[0].item.id == wanted
        month = memory.recall("What happened in May 2023?", 10)
        assert {(h.item.valid_from.year, h.item.valid_from.month) for h in month} == {(2023, 5)}
        assert memory.recall("What happened in May 2023?", 3, as_of="2023-05-10")
        last = memory.recall("What happened last week?", 8, as_of="2023-05-24")
        assert wanted in [h.item.id for h in last]


def test_neighbours_of_other_threads_and_places_lend_nothing(tmp_path):
    talk = [[f"filler {j} of {i}" for j in range(9)] for i in range(150)]
    talk[70][4], talk[70][5] = "Which instrument did you learn?", "The violin."
    with Memory(tmp_path / "m.db", ranker=NoteRanker(whole=0)) as memory:
        for j in range(9):  # threads lie interleaved in the log
            memory.write([Item(talk[i][j], labels={"thread": str(i)}) for i in range(150)])
        hits = memory.recall("instrument", 20)
        found = [(h.item.labels["thread"], h.item.content) for h in hits]
    # the answer has no word of the question; three on either side borrow its words
    assert {thread for thread, _ in found} == {"70"}
    assert "The violin." in [content for _, content in found[:3]]
    assert len(found) == 7


def test_a_run_ends_where_a_turn_between_was_not_fetched(tmp_path):
    class Looking(NoteRanker):
        def __call__(self, query, candidates, k):
            self.seen = {c.item.content: c.run for c in candidates}
            return super().__call__(query, candidates, k)

    ranker = Looking(whole=0)
    with Memory(tmp_path / "m.db", ranker=ranker) as memory:
        said = [f"turn {i}" for i in range(12)]
        said[0] = said[11] = "the oboe"
        for text in said:  # another thread lies between any two turns
            memory.write([Item(text, labels={"thread": "a"}), Item("x", labels={"thread": "b"})])
        memory.write("A lone oboe.")
        memory.recall("oboe", 3)
    first, second = ranker.seen["turn 1"], ranker.seen["turn 10"]
    assert {t for t, run in ranker.seen.items() if run == first} >= {"turn 1", "turn 2", "turn 3"}
    assert {t for t, run in ranker.seen.items() if run == second} >= {"turn 8", "turn 9", "turn 10"}
    assert first != second
    assert ranker.seen["A lone oboe."] is None
    assert "x" not in ranker.seen


def test_neighbours_outside_of_a_cube_or_kind_are_not_handed_out(tmp_path):
    with Memory(tmp_path / "m.db", ranker=NoteRanker(whole=0)) as memory:
        ids = memory.write(
            [Item(t, labels={"thread": "t"}) for t in ("Which boat?", "The red one.", "Aha.")]
        ).ids
        memory.store.create_cube("some", [ids[0], ids[2]])
        assert {h.item.id for h in memory.recall("boat", cube="some")} <= {ids[0], ids[2]}
        state = memory.write(Item("cache", kind="state", blob=b"1", labels={"thread": "t"})).id
        assert state in {h.item.id for h in memory.recall("boat")}
        assert state not in {h.item.id for h in memory.recall("boat", kinds="note")}


def test_nothing_is_embedded_twice(tmp_path):
    encode = Toy()
    with Memory(tmp_path / "m.db", encoder=encode) as memory:
        memory.write([f"Note {i}. It has two sentences." for i in range(50)])
        memory.recall("note 3")
        assert len(encode.texts) == 1 + 100 + 1  # probe, sentences, query
        memory.recall("note 3")
        memory.recall("note 4")
        assert encode.texts[-2:] == ["note 3", "note 4"]
        assert len(encode.texts) == 104


def test_what_is_erased_is_in_no_cache(tmp_path):
    ranker = NoteRanker()
    with Memory(tmp_path / "m.db", encoder=Toy(), ranker=ranker) as memory:
        id = memory.write("The secret is xylophone.").id
        memory.write("The weather is fine.")
        memory.recall("secret")
        assert ranker._parsed.cache_info().currsize == 2
        memory.erase(id)
        hits = memory.recall("secret xylophone")
        assert all("xylophone" not in h.item.content for h in hits)
        assert ranker._parsed.cache_info().currsize == 1
        assert [i.content for i in memory.store._kept._items.values()] == ["The weather is fine."]


def test_a_memory_that_grows_is_ranked_as_it_is(tmp_path):
    with Memory(tmp_path / "m.db", encoder=Toy()) as memory:
        for i in range(6):
            memory.write(f"I saw {i} herons.", labels={"thread": "a"})
            assert memory.recall(f"{i} herons", 1)[0].item.content == f"I saw {i} herons."
        memory.supersede(memory.recall("2 herons", 1)[0].item.id, "I saw two cranes.")
        assert "I saw 2 herons." not in [h.item.content for h in memory.recall("2 herons")]


def test_a_picture_is_found_by_its_caption(tmp_path):
    picture = {"type": "image", "caption": "a photo of a red boat"}
    chat = [
        {"role": "user", "name": "Ann", "content": [{"type": "text", "text": "Look!"}, picture]},
        {"role": "user", "name": "Bob", "content": "Lovely."},
    ]
    with Memory(tmp_path / "m.db") as memory:
        memory.write_chat(chat)
        hit = memory.recall("red boat", 1)[0]
        assert hit.item.labels["captions"] == ["a photo of a red boat"]
        assert hit.words > 0
        assert "| [with it: a photo of a red boat]" in memory.recall("red boat", 1).to_prompt()


def test_who_said_it():
    assert spoken("Ann Lee: I moved.", {})[:2] == ("Ann Lee", "I moved.")
    assert spoken("note: buy milk", {})[:2] == ("", "note: buy milk")
    assert spoken("Ann: hi\nBob: hi", {"role": "user"})[:2] == ("user", "Ann: hi\nBob: hi")
    assert spoken("Ann: hi", {"speaker": "Bob"})[:2] == ("Bob", "Ann: hi")
    assert spoken("x", {"captions": "a cat"}).attached == ("a cat",)
    assert spoken("x", {"captions": [1, "a cat"], "speaker": 3}) == ("", "x", ("a cat",))
    note = note_of(Item("Ann: I moved.", valid_from="2023-05-08", labels={"thread": ["odd"]}))
    assert (note.speaker, note.time) == ("Ann", datetime(2023, 5, 8, tzinfo=UTC))
    assert note.session == "['odd']"


def test_a_plain_list_of_candidates_is_ranked_as_the_whole():
    items = [Item(t, labels={"thread": "t"}) for t in ("Which boat?", "The red one.", "Rain.")]
    given = [Candidate(item, 0.0, order=i) for i, item in enumerate(items)]
    hits = NoteRanker()("boat", given, 3)
    assert [h.item.content for h in hits] == ["Which boat?", "The red one.", "Rain."]
    assert NoteRanker()("boat", Candidates(), 3) == []


def test_the_least_of_normal_values_is_near_what_is_drawn():
    draw = np.random.default_rng(0)
    for n in (128, 2000):
        least = draw.standard_normal((400, n)).min(1).mean()
        assert -_normal_least(n) == pytest.approx(least, abs=0.2)


def test_words_of_another_release_are_made_anew(tmp_path):
    path = tmp_path / "m.db"
    with Memory(path) as memory:
        ids = memory.write(["Two paintings hang here.", "A secret story."]).ids
        memory.recall("paint")
    with Memory(path) as memory:
        memory.store._c.write(
            lambda c: c.execute("UPDATE meta SET value = '0' WHERE key = 'words'") and None
        )
        memory.erase(ids[1])  # under the old index
        assert memory.check() == []
        assert [h.item.id for h in memory.recall("painting")] == [ids[0]]
        assert memory.recall("secret") == []
        (value,) = memory.store._c.write(
            lambda c: c.execute("SELECT value FROM meta WHERE key = 'words'").fetchone()
        )
        assert "snowball" in value
