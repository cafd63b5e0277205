"""The LoCoMo bench: published baselines as its oracle, a made-up conversation for the rest.

The data is not a part of byheart (CC BY-NC 4.0). Tests that need it look at the environment
variable BYHEART_LOCOMO, then for shared/data/locomo beside the checkout, and are skipped without.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from byheart.core.errors import CapabilityError, DataError, ModelError, UnknownName, UsageError
from byheart.core.model import CallableModel, load
from byheart.core.toy import SuffixModel
from byheart.notes import _locomo_answers
from byheart.notes.locomo import CUTS, METHODS, Locomo, bench, method, read, token_f1

BESIDE = Path(__file__).parents[3] / "shared" / "data" / "locomo"
DATA = Path(os.environ.get("BYHEART_LOCOMO") or BESIDE)
needs_data = pytest.mark.skipif(
    not (DATA / "baselines.json").is_file(),
    reason="LoCoMo is not here: set BYHEART_LOCOMO to its folder (CC BY-NC, not shipped)",
)
PUBLISHED = {
    "bm25": "bm25",
    "dense": "minilm",
    "hybrid-rrf": "hybrid_rrf60",
    "hybrid": "hybrid_minmax0.5",
}


def turn(i: str, speaker: str, text: str, **more: str) -> dict:
    return {"dia_id": i, "speaker": speaker, "text": text, **more}


TALK = {
    "sample_id": "made-up",
    "conversation": {
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_1": [
            turn("D1:1", "Ann", "What did you learn last year?"),
            turn("D1:2", "Bob", "The violin."),
            turn("D1:3", "Ann", "Look at this!", blip_caption="a photo of a red boat"),
        ],
        "session_2_date_time": "9:00 am on 1 June, 2023",
        "session_2": [turn("D2:1", "Ann", "I moved to Bern."), turn("D2:2", "Bob", "Congrats!")],
        "session_3_date_time": "9:00 am on 2 June, 2023",
    },
    "qa": [
        {"question": "Where did Ann move?", "answer": "Bern", "evidence": ["D2:1"], "category": 4},
        {"question": "What is red?", "answer": 1, "evidence": ["D1:3; D:2:01", "D1:3", "D9:9"], "category": 1},
        {"question": "Who flew?", "adversarial_answer": "Bob", "evidence": ["D2:2"], "category": 5},
        {"question": "Lost?", "answer": "?", "evidence": ["D7:1"], "category": 4},
    ],
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "talk.json").write_text(json.dumps(TALK), encoding="utf-8")
    return tmp_path


def toy(texts: list[str]) -> np.ndarray:
    rows = np.array([[len(t), sum(map(ord, t)) % 97, 1.0] for t in texts], dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def assert_published(result: Locomo, names: dict[str, str]) -> None:
    published = json.loads((DATA / "baselines.json").read_text())["results"]
    for name, key in names.items():
        for group, expected in published[key].items():
            assert len(result.values(name, group)) == expected["n"]
            for cut in CUTS:
                found = result.values(name, group, cut).mean() / 100
                assert round(float(found), 3) == expected["recall"][str(cut)], (name, group, cut)


@needs_data
def test_bm25_gives_the_published_baselines_to_the_digit():
    result = bench(DATA, methods=["bm25", "bm25+date"])
    assert_published(result, {"bm25": "bm25", "bm25+date": "bm25+date"})
    assert result.dropped == 2


@needs_data
def test_words_alone_beat_the_best_published_hybrid():
    result = bench(DATA, methods=["byheart-words", "bm25+date"])
    gain = result.difference("byheart-words", "bm25+date")
    assert gain.low > 10
    published = json.loads((DATA / "baselines.json").read_text())["results"]
    bar = 100 * published["hybrid_minmax0.5+date"]["1-4"]["recall"]["10"]
    assert result.estimate("byheart-words").low > bar == pytest.approx(66.4)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@needs_data
def test_the_table_has_the_published_baselines_and_the_default_beats_them():
    from byheart.notes import MiniLM

    result = bench(DATA, encode=MiniLM())
    dated = {f"{a}+date": f"{b}+date" for a, b in PUBLISHED.items()}
    assert_published(result, PUBLISHED | dated)
    assert result.difference("byheart", "hybrid+date").low > 0
    assert result.estimate("byheart").value > 72
    for group in ("1", "2", "3", "4", "5"):
        assert result.difference("byheart", "hybrid+date", group).value > 0, group


def test_evidence_is_read_leniently_and_questions_without_any_are_counted(folder):
    (talk,) = read(folder)
    assert talk.name == "talk"
    assert [t.id for t in talk.turns] == ["D1:1", "D1:2", "D1:3", "D2:1", "D2:2"]
    assert [q.evidence for q in talk.questions] == [(3,), (2, 3), (4,)]
    assert [q.answer for q in talk.questions] == ["Bern", "1", "Bob"]
    assert talk.dropped == 1
    assert talk.turns[2].line(date=True) == (
        "(1:56 pm on 8 May, 2023) Ann: Look at this! [image: a photo of a red boat]"
    )


def test_the_upstream_file_of_all_conversations_is_read_too(tmp_path):
    file = tmp_path / "locomo10.json"
    file.write_text(json.dumps([TALK, TALK | {"sample_id": "second"}]), encoding="utf-8")
    assert [t.name for t in read(file)] == ["made-up", "second"]


def test_recall_is_the_share_of_the_evidence_that_is_found(folder):
    @method("always-2-0-3", "a fixed ranking")
    def _fixed(conversation, encode):
        return lambda question: [2, 0, 3, 1, 4]

    try:
        result = bench(folder, methods=["always-2-0-3"])
    finally:
        del METHODS["always-2-0-3"]
    recalls = {r.question: r.recall for r in result.rows}
    assert recalls["Where did Ann move?"] == (0.0, 100.0, 100.0, 100.0)
    assert recalls["What is red?"] == (50.0, 100.0, 100.0, 100.0)
    assert result.estimate("always-2-0-3", "1-4", 1).value == 25.0
    assert result.estimate("always-2-0-3", "2") is None
    with pytest.raises(UsageError, match="already"):
        method("byheart", "again")(lambda c, e: list)


def test_every_method_ranks_every_turn_at_most_once(folder):
    result = bench(folder, encode=toy)
    assert result.methods == list(METHODS)
    for row in result.rows:
        assert len(set(row.found)) == len(row.found) <= 5
    figures = result.to_dict()
    assert figures["questions"] == {"1": 1, "2": 0, "3": 0, "4": 1, "5": 1, "1-4": 2, "all": 3}
    own = [m for m in METHODS if not m.startswith(("bm25", "dense", "hybrid"))]
    assert {"byheart", "byheart-words"} <= set(own)
    assert set(figures["against"]) == {f"{m} - hybrid+date" for m in own}
    json.dumps(figures)


def test_without_an_encoder_the_methods_that_embed_are_left_out(folder):
    assert bench(folder).methods == ["bm25", "bm25+date", "byheart-words"]
    with pytest.raises(UsageError, match="hybrid embeds"):
        bench(folder, methods=["hybrid"])


def test_a_model_answers_from_what_was_found(folder):
    prompts = []

    def answer(prompt):
        prompts.append(prompt)
        return " Bern\nand more"

    result = bench(folder, methods=["byheart-words"], model=CallableModel(answer), k=2)
    by_question = {r.question: r for r in result.rows}
    assert by_question["Where did Ann move?"].answer == "Bern"
    assert by_question["Where did Ann move?"].f1 == 100.0
    assert by_question["Who flew?"].f1 == 0.0
    told = prompts[0][1][1]
    assert "(9:00 am on 1 June, 2023) Ann: I moved to Bern." in told
    assert told.count("\n(") + told.startswith("(") == 2
    figures = result.to_dict()["results"]["byheart-words"]
    assert figures["4"]["f1"][0] == 100.0
    assert "f1" not in figures["all"], "a trap's F1 is better low, it cannot be averaged in"


def test_answers_are_kept_as_they_come_and_a_second_run_goes_on(folder, tmp_path):
    prompts, stops = [], [3]

    def answer(prompt):
        if len(prompts) == stops[0]:
            raise ModelError("the endpoint is gone")
        prompts.append(prompt)
        return f"answer {len(prompts)}"

    kept = tmp_path / "out" / "answers.jsonl"
    options = {"methods": ["bm25", "byheart-words"], "k": 2, "answers": kept}
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(_locomo_answers, "BATCH", 1)
    with pytest.raises(ModelError, match="gone"):
        bench(folder, model=CallableModel(answer), **options)
    assert len(kept.read_text().splitlines()) == 3
    kept.write_text(kept.read_text()[:-4])  # the last line was cut off
    stops[0] = -1
    done = bench(folder, model=CallableModel(answer), **options)
    assert len(set(map(str, prompts))) == len(prompts) - 1  # only what was cut off was asked twice
    again = bench(folder, model=CallableModel(answer), **options)
    assert again.rows == done.rows
    assert len(kept.read_text().splitlines()) == len(prompts) - 1
    other = CallableModel(lambda prompt: "else", name="other")
    assert {r.answer for r in bench(folder, model=other, **options).rows} == {"else"}
    monkeypatch.undo()


def test_a_model_that_cannot_be_sampled_is_refused_before_anything_is_read(tmp_path):
    class Mute(CallableModel):
        capabilities = frozenset({"score"})

    with pytest.raises(CapabilityError, match="answering questions needs sample"):
        bench(tmp_path / "nowhere", model=Mute(str.upper))


def test_plain_models_are_prompted_too(folder):
    model = load(SuffixModel(["Short answer: Bern"]))
    (row, *_) = bench(folder, methods=["bm25"], model=model, limit=1).rows
    assert isinstance(row.answer, str)


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("7 May 2023", "7 May 2023", 1.0),
        ("On 7 May, 2023.", "7 May 2023", 6 / 7),
        ("the the the cat", "the cat", 1.0),  # sets
        ("dog", "cat", 0.0),
        ("", "cat", 0.0),
        ("cat", "", 0.0),
        ("...", "?!", 0.0),
        ("self-care", "self care", 0.0),  # only . , ! ? part words
    ],
)
def test_f1_is_over_sets_of_tokens(prediction, reference, expected):
    assert token_f1(prediction, reference) == pytest.approx(expected)


def test_the_rows_are_kept_one_a_line(folder, tmp_path):
    result = bench(folder)
    result.save(tmp_path / "deep" / "rows.jsonl")
    rows = [json.loads(x) for x in (tmp_path / "deep" / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == 9
    assert rows[0]["evidence"] == ["D2:1"]
    assert set(rows[0]["recall"]) == {"1", "5", "10", "20"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("{}", "no 'conversation'"),
        ('{"conversation": {}}', "no 'qa'"),
        ('{"conversation": {"session_1": []}, "qa": []}', "no 'session_1_date_time'"),
        ("[3]", "not of LoCoMo's form"),
        ('{"conversation": [1], "qa": []}', "'conversation' is a list"),
        ('{"conversation": {}, "qa": 7}', "'qa' is a int"),
        ('{"conversation": {}, "qa": ["x"]}', "not of LoCoMo's form"),
        (
            '{"conversation": {"session_1_date_time": "", "session_1": null}, "qa": []}',
            "not a list",
        ),
    ],
)
def test_broken_files_are_named(tmp_path, content, message):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(DataError, match=message) as error:
        read(tmp_path)
    assert "x.json" in str(error.value)


def test_what_cannot_be_run_is_said(folder, tmp_path):
    with pytest.raises(DataError, match="no file or folder"):
        bench(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no conversation"):
        bench(tmp_path / "empty")
    with pytest.raises(UnknownName, match="did you mean 'hybrid"):
        bench(folder, methods=["hybird"])
    with pytest.raises(UsageError, match="k must be at least 1, got 0"):
        bench(folder, k=0)
    with pytest.raises(UsageError, match="limit must be at least 1"):
        bench(folder, limit=0)


def test_the_command_prints_a_table_and_keeps_every_question(cli, folder, tmp_path):
    out = tmp_path / "out"
    words = ("bench", "locomo", "--data", str(folder), "--no-encoder", "--out", str(out))
    code, text, _ = cli(*words)
    assert code == 0
    assert "recall@10" in text
    assert "byheart-words - bm25+date" in text
    assert len((out / "questions.jsonl").read_text().splitlines()) == 9
    assert "answer F1" not in text
    code, text, _ = cli(*words, "--json", "--method", "bm25", "--limit", "2")
    figures = json.loads(text)
    assert list(figures["results"]) == ["bm25"]
    assert figures["questions"]["all"] == 2


def test_the_command_names_what_is_wrong(cli, tmp_path):
    code, _, error = cli("bench", "locomo", "--data", str(tmp_path / "none"), "--no-encoder")
    assert code == 2
    assert "there is no file or folder" in error
