"""The audit on models whose memory is known: one that knows the order, one that guesses, one label."""

import json
import math
import re
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import byheart
from byheart.audits._sort.judge import stretches
from byheart.audits.book_sort import (
    BookSort,
    Choice,
    chronicle,
    debiased,
    from_logprobs,
    lenient_answer,
    make_pairs,
    messages,
    read_wording,
    sort_task,
    strict_answer,
    table,
)
from byheart.core.ask import Completion, Facts, Scored
from byheart.core.audit import Row
from byheart.core.checks import check_audit
from byheart.core.drive import drive
from byheart.core.errors import CapabilityError, DataError, UsageError
from byheart.core.model import CallableModel, Model
from byheart.core.run import measure
from byheart.core.toy import flatten


def segments(prompt):
    found = re.search(r"(?:Segment )?A: (.*?)\n(?:Segment )?B: (.*?)(?:\n|$)", prompt, re.S)
    return found.group(1), found.group(2)


class Reader(Model):
    """Looks both segments up in what it knows and, if it stands there, in the prompt.

    Log-odds are `skill` in favour of the right label where both are found, plus `liking` for A, plus
    noise that depends on the prompt.
    """

    chat = True

    def __init__(
        self, known=(), *, skill=2.0, liking=0.0, noise=0.0, score=True, seed=0, reads=True
    ):
        self.known, self.skill, self.liking = tuple(known), skill, liking
        self.noise, self.seed, self.reads = noise, seed, reads
        self.capabilities = frozenset({"sample", "score"} if score else {"sample"})
        self.asked = 0
        self.name = f"reader-{skill}-{liking}-{noise}-{seed}-{score}"

    def odds(self, prompt):
        text = flatten(prompt)
        a, b = segments(text)
        value = self.liking
        excerpt = text[: text.find("Segment A:")] if self.reads else ""
        for book in (*self.known, excerpt):
            at = book.find(a), book.find(b)
            if min(at) >= 0 and at[0] != at[1]:
                first = "appeared last" not in text
                value += self.skill if (at[0] < at[1]) == first else -self.skill
                break
        key = zlib.crc32(f"{self.seed}{text}".encode())
        return value + self.noise * np.random.default_rng(key).normal()

    def sample(self, asks, progress=None):
        self.asked += len(asks)
        return [[Completion("Segment A" if self.odds(a.prompt) > 0 else "Segment B")] for a in asks]

    def score(self, asks, progress=None):
        self.asked += len(asks)
        out = []
        for ask in asks:
            odds = self.odds(ask.context) * (1 if ask.text.strip() == "A" else -1)
            p = -math.log1p(math.exp(-odds)) - (0.1 if ask.text[0] == " " else 3.0)
            out.append(Scored(np.asarray([p]), (7,), np.asarray([False])))
        return out


@pytest.fixture(scope="module")
def books(tmp_path_factory):
    folder = tmp_path_factory.mktemp("books")
    paths = {}
    for i, name in enumerate(("seen", "fresh")):
        paths[name] = folder / f"{name}.txt"
        paths[name].write_text(chronicle(40_000, seed=70 + i).text(0, 40_000))
    return paths


def text_of(path):
    return " ".join(path.read_text().split())


def found(audit, model, seed=0, **more):
    rows = drive(audit, model, seed=seed, **more)
    return {f.name: f for f in audit.findings(rows, seed=seed)}, rows


@pytest.mark.parametrize("score", [True, False])
@pytest.mark.parametrize("task", ["first", "last"])
def test_who_knows_the_book_is_found(books, score, task):
    audit = BookSort(texts=books["seen"], fresh=books["fresh"], exchangeable=True, task=task)
    model = Reader([text_of(books["seen"])], noise=0.3, score=score)
    out, rows = found(audit, model)
    memory = out["book-sort/memory"]
    assert memory.seen.value == 1.0
    assert memory.fresh.low < 0.5 < memory.fresh.high
    assert memory.verdict() == "memorised"
    assert memory.control_gap.value == 0.0  # with the text in front of it, both arms are perfect
    context = out["book-sort/context"]
    assert (context.seen.value, context.fresh.value) == (1.0, 1.0)
    assert context.verdict() == "no verdict"
    assert {r.meta["by"] for r in rows} == {"probability" if score else "answer"}


def test_who_only_reads_the_prompt_is_not(books):
    """The sheet's oracle: finds both segments in the prompt; perfect there, a half without."""
    audit = BookSort(texts=books["seen"], fresh=books["fresh"], exchangeable=True)
    out, _ = found(audit, Reader(noise=0.5))
    memory, context = out["book-sort/memory"], out["book-sort/context"]
    assert memory.verdict() == "not shown"
    assert context.seen.value == 1.0
    assert context.fresh.low <= 0.5 <= context.fresh.high
    assert context.p_value < 0.01
    by_distance = context.details["seen"]["by_distance"]
    assert set(by_distance) == {"62", "83", "125", "200"}
    assert all(cell["value"] == 1.0 and cell["n"] == 6 for cell in by_distance.values())
    assert all(cell["low"] < 1.0 for cell in by_distance.values())


@pytest.mark.parametrize("score", [True, False])
@pytest.mark.parametrize("liking", [5.0, -5.0])
def test_one_label_for_everything_scores_a_half(books, score, liking):
    audit = BookSort(texts=books["seen"], fresh=books["fresh"], exchangeable=True)
    out, _ = found(audit, Reader(liking=liking, skill=0.0, score=score))
    for name in ("memory", "memory-lenient", "memory-strict", "context"):
        finding = out[f"book-sort/{name}"]
        assert finding.seen.value == finding.fresh.value == 0.5
        assert finding.verdict() != "memorised"
    assert out["book-sort/memory"].details["seen"]["said_a"] == float(liking > 0)


def test_a_liking_that_hides_the_memory_is_taken_out(books):
    """It always says A, but a little less where B is right: raw a half, debiased perfect."""
    audit = BookSort(texts=books["seen"], fresh=books["fresh"], exchangeable=True)
    model = Reader([text_of(books["seen"])], liking=5.0, skill=1.0, noise=0.1)
    out, _ = found(audit, model)
    assert out["book-sort/memory"].seen.value == 1.0
    assert out["book-sort/memory"].verdict() == "memorised"
    assert out["book-sort/memory-lenient"].seen.value == 0.5
    assert out["book-sort/memory"].details["seen"]["slant"] == pytest.approx(1.0, abs=0.1)
    by_answer = BookSort(texts=books["seen"], fresh=books["fresh"], exchangeable=True, by="answer")
    assert found(by_answer, model)[0]["book-sort/memory"].seen.value == 0.5


def test_guessers_are_accused_only_by_chance(books):
    audit = BookSort(
        texts=books["seen"], fresh=books["fresh"], exchangeable=True, conditions="memory"
    )
    p = [
        found(audit, Reader(noise=1.0, seed=s), seed=s, limit=16)[0]["book-sort/memory"].p_value
        for s in range(60)
    ]
    assert sum(x < 0.05 for x in p) <= 8  # 99.9 % point of Binomial(60, 0.05) is 9
    assert sum(x < 0.5 for x in p) >= 12  # and p is no constant


def test_contract():
    measured = check_audit(BookSort(), seeds=12, power_seeds=5, n=16)
    assert measured.power == 1.0


def test_planted_pairs_need_no_probabilities():
    """The same contract for a model that only answers."""
    planting = BookSort().planted(seed=3, n=16)
    known = dict(planting.texts)

    def reciter(prompt):
        return known.get(prompt[0][1], "A")

    out, _ = found(planting.audit, CallableModel(reciter))
    assert out["book-sort/memory"].verdict() == "memorised"
    held, _ = found(planting.held, CallableModel(reciter))
    assert held["book-sort/memory"].verdict() == "not shown"
    assert len(planting.texts) == 32
    assert {answer for _, answer in planting.texts} == {"A", "B"}
    names = [set(re.findall(r"[A-Z]\w{4}\b", q)) - {"Which"} for q, _ in planting.texts[::2]]
    assert not set.intersection(*names)
    assert len(set.union(*names)) == sum(map(len, names))


def test_no_verdict_without_a_twin_that_is_alike(books):
    for knobs, why in (
        ({}, "shipped passages"),
        ({"texts": books["seen"]}, "invented chronicle"),
        ({"texts": books["seen"], "fresh": books["fresh"]}, "exchangeable"),
    ):
        audit = BookSort(**knobs, conditions="memory")
        out, _ = found(audit, Reader([text_of(books["seen"])], noise=0.1), limit=12)
        assert why in out["book-sort/memory"].no_verdict
        assert out["book-sort/memory"].verdict() == "no verdict"


def test_excerpts_that_overlap_count_as_one_stretch(tmp_path):
    def row(book, start):
        meta = {"book": book, "start": start, "length": 100}
        return Row(f"{book}{start}", "seen", {}, meta=meta)

    rows = [row("b", 0), row("a", 150), row("a", 0), row("a", 99), row("a", 199), row("a", 400)]
    marks = stretches(rows)
    assert len({marks[i] for i in (1, 2, 3, 4)}) == 1
    assert len(set(marks)) == 3
    for i, name in enumerate(("one", "two")):
        (tmp_path / f"{name}.txt").write_text(chronicle(700, seed=i).text(0, 700))
    audit = BookSort(
        texts=tmp_path / "one.txt", fresh=tmp_path / "two.txt", exchangeable=True,
        conditions="memory",
    )  # fmt: skip
    out, _ = found(audit, Reader([text_of(tmp_path / "one.txt")], noise=0.1))
    assert "stretches of text that do not overlap" in out["book-sort/memory"].no_verdict


def test_with_many_books_books_are_what_is_counted(tmp_path):
    for arm in ("seen", "fresh"):
        (tmp_path / arm).mkdir()
        for i in range(7):
            book = chronicle(2000, seed=i + 100 * (arm == "seen"))
            (tmp_path / arm / f"{i}.txt").write_text(book.text(0, 2000))
    audit = BookSort(
        texts=tmp_path / "seen", fresh=tmp_path / "fresh", exchangeable=True, conditions="memory"
    )
    known = [text_of(p) for p in (tmp_path / "seen").glob("*.txt")]
    out, rows = found(audit, Reader(known, noise=0.1))
    assert out["book-sort/memory"].details["units"] == {"seen": 7, "fresh": 7}
    assert out["book-sort/memory"].verdict() == "memorised"
    assert {r.meta["bin"] for r in rows} == {62, 83, 125, 200}


def test_books_that_are_too_short_are_left_out_and_named(books, tmp_path):
    (tmp_path / "long.txt").write_text(books["seen"].read_text())
    (tmp_path / "short.txt").write_text("It rained. We left.")
    (tmp_path / "odd.txt").write_text("word " * 900)  # one sentence: no segment starts inside
    audit = BookSort(texts=tmp_path, fresh=books["fresh"], conditions="memory")
    out, rows = found(audit, Reader(noise=0.1), limit=8)
    assert {r.meta["book"] for r in rows if r.arm == "seen"} == {"long.txt"}
    assert sum(r.arm == "seen" for r in rows) == 8
    told = out["book-sort/memory"].details["books_left_out"]
    assert [t.split()[0].strip(":") for t in told] == ["short.txt", "odd.txt"]


def test_table_is_what_counting_gives(books):
    audit = BookSort(texts=books["seen"], fresh=books["fresh"])
    _, rows = found(audit, Reader([text_of(books["seen"])], noise=3.0))
    cells = table(rows)
    assert sum(c["n"] for c in cells) == 2 * len(rows)
    for cell in cells:
        some = [
            r.values[f"{cell['condition']}/debiased"] for r in rows
            if (r.arm, r.meta["bin"]) == (cell["arm"], cell["bin"])
        ]  # fmt: skip
        assert cell["n"] == len(some)
        assert cell["debiased"].value == pytest.approx(np.mean(some))
        assert cell["debiased"].low <= cell["debiased"].value <= cell["debiased"].high
    assert [c["n"] for c in table(rows, by=["condition"])] == [48, 48]
    with pytest.raises(UsageError, match="'colour'"):
        table(rows, by=["colour"])


class Small(Reader):
    """Attends to few tokens."""

    context_length = 250
    own_tokens = True


def test_an_excerpt_beyond_the_models_context_is_said_and_not_asked(books):
    audit = BookSort(texts=books["seen"], fresh=books["fresh"], exchangeable=True)
    out, rows = found(audit, Small([text_of(books["seen"])], noise=0.1), limit=8)
    assert set(out) == {f"book-sort/memory{x}" for x in ("", "-lenient", "-strict")}
    assert all(r.values["context/debiased"] is None for r in rows)
    assert "attends to 250" in rows[0].evidence.note
    only = BookSort(texts=books["seen"], fresh=books["fresh"], conditions="context")
    with pytest.raises(DataError, match="attends to 250; ask for shorter excerpts"):
        found(only, Small(), limit=4)


@pytest.mark.parametrize(
    ("knobs", "error", "message"),
    [
        ({"conditions": "dreams"}, UsageError, "memory, context"),
        ({"conditions": ()}, UsageError, "named once each"),
        ({"conditions": "memory,memory"}, UsageError, "named once each"),
        ({"task": "middle"}, UsageError, "first, last"),
        ({"by": "mood"}, UsageError, "auto, probability, answer"),
        ({"scorer": "kind"}, UsageError, "debiased, lenient, strict"),
        ({"per_arm": 1}, UsageError, "at least 2"),
        ({"fresh": "b.txt"}, UsageError, "without texts"),
        ({"bins": "20,x"}, UsageError, "whole numbers"),
        ({"excerpt": 30}, UsageError, "edges of bins must rise"),
        ({"wording": "none.json"}, DataError, "cannot read none.json"),
    ],
)
def test_knobs_that_cannot_be(knobs, error, message):
    with pytest.raises(error, match=message):
        BookSort(**knobs)


def test_books_that_do_not_serve_are_named(books, tmp_path):
    (tmp_path / "short.txt").write_text("It rained. We left.")
    with pytest.raises(DataError, match=r"short.txt, the longest, has 4 words"):
        BookSort(texts=tmp_path / "short.txt").probes()
    with pytest.raises(DataError, match=r"seen.txt stands in both arms"):
        BookSort(texts=books["seen"], fresh=books["seen"]).probes()
    with pytest.raises(CapabilityError, match="by='answer' does"):
        found(BookSort(by="probability"), CallableModel(lambda p: "A"), limit=2)
    with pytest.raises(UsageError, match="limit"):
        BookSort().probes(limit=0)
    assert BookSort(bins="20,62,125").bins == (20, 62, 125)


def test_a_wording_of_ones_own(tmp_path, books):
    path = tmp_path / "w.json"
    told = {"before": "<{excerpt}>", "question": "A: {a}\nB: {b}\n{task} in {title}? {unknown}"}
    path.write_text(json.dumps(told))
    pair = make_pairs(chronicle(3000), n=1, extra=3)[0]
    asked = messages(pair, "context", wording=read_wording(path))
    assert asked[0][1].startswith(f"<{pair.excerpt}>A: ")
    assert asked[0][1].endswith(f"first in {pair.title}? {{unknown}}")
    for broken, message in (("[]", "object of texts"), ("{", "not JSON"), ('{"x": "y"}', "names"),
                            ('{"question": "{a}"}', "lacks {b}")):  # fmt: skip
        path.write_text(broken)
        with pytest.raises(DataError, match=re.escape(message)):
            read_wording(path)
    with pytest.raises(UsageError, match="condition is one of"):
        messages(pair, "dreams")


def test_what_a_book_says_fills_no_blank():
    pair = make_pairs(chronicle(3000), n=1, extra=3)[0]
    import dataclasses

    evil = dataclasses.replace(pair, first="{b} {excerpt}", second="{title}", earlier_first=True)
    text = messages(evil, "memory")[1][1]
    assert "Segment A: {b} {excerpt}\nSegment B: {title}" in text


def test_reports_resume_and_write_logs(books, tmp_path):
    knobs = {"book-sort": {"texts": str(books["seen"]), "fresh": str(books["fresh"]),
                           "exchangeable": True}}  # fmt: skip
    audit = BookSort(**knobs["book-sort"])
    model = Reader([text_of(books["seen"])], noise=0.1)
    first = byheart.audit(model, [audit], limit=6, out=tmp_path / "out")
    asked = model.asked
    assert asked == 2 * 6 * 2 * 2 * 4
    again = byheart.audit(model, [audit], limit=6, out=tmp_path / "out")
    assert model.asked == asked
    assert [f.to_dict() for f in again.findings] == [f.to_dict() for f in first.findings]
    assert list((tmp_path / "out" / "logs").iterdir())


def test_answers_that_cannot_be_read_are_wrong_and_counted(books):
    audit = BookSort(texts=books["seen"], fresh=books["fresh"])
    out, rows = found(audit, CallableModel(lambda p: "I cannot know."), limit=8)
    assert out["book-sort/memory"].seen.value == 0.0
    assert out["book-sort/memory"].details["seen"]["unread"] == 1.0
    assert all(r.values["memory/said_a"] is None for r in rows)
    assert (
        measure(CallableModel(lambda p: ""), audit, limit=4).rows[0].values["memory/unread"] == 1.0
    )


LENIENT = {
    "A": "A", "b": "B", " (B) ": "B", "**B**.": "B", "Segment A": "A", "Segment B.": "B",
    "Answer: Segment B": "B", "The answer is A.": "A", "The correct answer is (B)": "B",
    "I think the answer is A. No: my final answer is B.": "B", "A segment came first": "",
    "Segment A appeared first in the book, before Segment B.": "A", "B came before A.": "B",
    "<think>A or B? A!</think>B": "B", "A or B": "", "Segments A and B": "", "": "", "Apple": "",
    "B: We left the house": "B", "I would choose segment B because it is a continuation": "B",
    "A\n\nBecause it rained": "A", "I cannot tell a thing": "", "Segment A and then Segment B": "",
    "option b": "B",
}  # fmt: skip


@pytest.mark.parametrize("text", LENIENT)
def test_lenient_reading(text):
    assert lenient_answer(text) == LENIENT[text]


def test_strict_reading_is_the_authors_with_its_faults():
    known = {"B": "B", "Answer: B": "", "A: yes, B: no": "", "a": "", "Segment B": "B", "A B": ""}
    assert {t: strict_answer(t) for t in known} == known
    # the first way to write a label alone counts; a tie is an A
    assert from_logprobs([-5.0, -0.2], [-4.0, -9.0]).strict == "B"
    assert from_logprobs([-5.0, -0.2], [-4.0, -9.0]).lenient == "A"
    assert from_logprobs([-2.0], [-2.0]) == Choice("A", "", 0.0)
    assert from_logprobs([-math.inf], [-math.inf]).lenient == ""


@given(st.text(max_size=60), st.sampled_from(["first", "last"]))
def test_any_text_is_read_or_not(text, task):
    assert lenient_answer(text, task) in ("A", "B", "")
    assert strict_answer(text) in ("A", "B", "")


@given(st.floats(-8, 8), st.floats(-8, 8), st.sampled_from("AB"), st.floats(-20, 20))
def test_a_liking_for_a_label_changes_nothing(m, w, key, liking):
    """Adding one number to both margins leaves the debiased score; swapping labels mirrors it."""

    def choice(margin):
        return Choice(
            "A" if margin >= 0 else "B", "A" if margin > 0 else "B" if margin else "", margin
        )

    m, w, liking = round(m, 3), round(w, 3), float(round(liking))
    score = debiased(choice(m), choice(w), key)
    assert score == debiased(choice(m + liking), choice(w + liking), key) or abs(m - w) < 1e-9
    assert score + debiased(choice(m), choice(w), "BA"["AB".index(key)]) == 1.0
    assert score == debiased(choice(w), choice(m), "BA"["AB".index(key)])


def test_task_of_inspect_reads_probabilities_as_providers_tell_them(tmp_path):
    import inspect_ai
    from inspect_ai.model import (
        ChatCompletionChoice,
        ChatMessageAssistant,
        Logprob,
        Logprobs,
        ModelOutput,
        ModelUsage,
        TopLogprob,
        get_model,
    )  # fmt: skip

    pairs = make_pairs(chronicle(4000, seed=2), n=4, extra=4, seed=1)

    def answer(input, tools, tool_choice, config):
        text = "\n".join(m.text for m in input)
        a, b = segments(text)
        excerpt = text[: text.find("Here are two")]
        knows = min(excerpt.find(a), excerpt.find(b)) >= 0
        right = knows and excerpt.find(a) < excerpt.find(b)
        odds = 3.0 + (0.0 if not knows else 1.0 if right else -1.0)  # likes A
        tops = [("ĠA", -0.1), ("▁B", -0.1 - odds), ("A", -9.0), ("the", -2.0)]
        top = [TopLogprob(token=t, logprob=p) for t, p in tops]
        return ModelOutput(
            model="mock", usage=ModelUsage(),
            choices=[ChatCompletionChoice(
                message=ChatMessageAssistant(content="A"),
                logprobs=Logprobs(content=[Logprob(token="ĠA", logprob=-0.1, top_logprobs=top)]),
            )],
        )  # fmt: skip

    model = get_model("mockllm/model", custom_outputs=answer)
    log = inspect_ai.eval(sort_task(pairs), model=model, display="none", log_dir=str(tmp_path))[0]
    assert log.status == "success", log.error
    told = log.results.scores[0].metrics
    values = {
        k.split("/", 1)[1] if k.startswith("byheart") else k: v.value for k, v in told.items()
    }
    assert len(log.samples) == 64
    assert values["context"] == 0.5
    assert values["context/debiased"] == 1.0
    assert values["memory/debiased"] == 0.5
    assert values["context/said_a"] == 1.0
    assert values["context/62/debiased"] == 1.0
    with pytest.raises(UsageError, match="no pair"):
        sort_task([])


def test_inspect_eval_takes_lengths_distances_and_conditions(books, tmp_path):
    """`inspect eval byheart/book-sort -T excerpt=300 ...` with an endpoint that only answers."""
    import inspect_ai
    from inspect_ai.model import ModelOutput, ModelUsage, get_model

    asked = []

    def answer(input, tools, tool_choice, config):
        asked.append("\n".join(m.text for m in input))
        a, b = segments(asked[-1])
        excerpt = asked[-1][: asked[-1].find("Here are two")]
        out = ModelOutput.from_content("m", "A" if excerpt.find(a) < excerpt.find(b) else "B")
        out.usage = ModelUsage()
        return out

    log = inspect_ai.eval(
        "byheart/book-sort",
        task_args={
            "texts": str(books["seen"]), "fresh": str(books["fresh"]), "excerpt": 300,
            "segment": 30, "bins": "30,80,150", "conditions": "context", "per_arm": 4,
            "task": "last", "seed": 3,
        },
        model=get_model("mockllm/model", custom_outputs=answer), display="none",
        log_dir=str(tmp_path),
    )[0]  # fmt: skip
    assert log.status == "success", log.error
    assert len(log.samples) == 8
    assert len(asked) == 16
    for text in asked:
        a, b = (s.split() for s in segments(text))
        assert (len(a), len(b)) == (30, 30)
        excerpt = text[: text.find("Here are two")].split("\n\n")[1].split()
        at = [next(i for i in range(300) if excerpt[i : i + 30] == s) for s in (a, b)]
        assert len(excerpt) == 300
        assert 30 < abs(at[0] - at[1]) <= 150
        assert "appeared last" in text
    values = [v.value for s in log.results.scores for v in s.metrics.values()]
    assert 0.0 in values  # it names the first one where the last is asked for


def test_plain_models_are_asked_in_plain_text():
    pair = make_pairs(chronicle(3000), n=1, extra=3)[0]
    audit = BookSort(conditions="memory")
    probe = audit._probe("seen", pair, {"why": "", "left_out": []})
    asks = next(audit.ask(probe, Facts(chat=False)))
    assert [a.text for a in asks] == [" A", " B"] * 2
    assert asks[0].context.endswith("Assistant: Answer: Segment")
    asks = next(audit.ask(probe, Facts(chat=True)))
    assert [a.text for a in asks] == ["A", " A", "B", " B"] * 2
    assert asks[0].context[-1] == ("assistant", "Answer: Segment")
    asks = next(audit.ask(probe, Facts(chat=True, capabilities=frozenset({"sample"}))))
    assert [role for role, _ in asks[0].prompt] == ["system", "user"]
    assert asks[0].prompt[1][1].endswith("Reply with the letter A or B only.")
