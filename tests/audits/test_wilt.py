"""The game, its scripted players, and the audit over both."""

from __future__ import annotations

import json

import inspect_ai
import pytest

from byheart.audits import make
from byheart.audits.wilt import (
    RULES_BAYESIAN_SINGLE,
    RULES_FULL,
    RULES_LITE,
    HypothesisSpace,
    Oracle,
    Player,
    Rule,
    Wilt,
    WiltEpisode,
    collect,
    novelty,
    play,
    player_model,
    read_tests,
    save_transcripts,
    swap_instruction,
    twins,
    wilt_task,
    word_vectors,
)
from byheart.core.ask import Completion, Facts
from byheart.core.checks import check_audit
from byheart.core.drive import drive
from byheart.core.errors import BudgetExceeded, DataError, UsageError
from byheart.core.journal import Journal
from byheart.core.model import CallableModel
from byheart.core.run import measure

RIGHT = "Final Guess: ```lambda x, y, z: x < y < z```"


def test_a_conversation_is_replayed_word_for_word():
    game = WiltEpisode(RULES_FULL["2"], 3)
    said = [
        game.reply(text).text
        for text in (
            "First. Test Case: ```(2, 4, 6)```",
            "Not (9, 9, 9). Test Case: ```(1,2,3)``` no, Test Case: ```(-11.3, .5, 1e1)```",
            "Test Case: ```(2, 4, 6)```",
            "Test Case: ```(5, 5, 5)```",
        )
    ]
    assert said == [
        "Result for input (2.0, 4.0, 6.0): True. Attempts Remaining: 3",
        "Result for input (-11.3, 0.5, 10.0): True. Attempts Remaining: 2",
        "Result for input (2.0, 4.0, 6.0): True. Attempts Remaining: 1",
        "Maximum attempts reached. Please make a guess.",
    ]
    assert (game.attempts, game.tests, game.oracle.repeats) == (3, 3, 1)
    end = game.reply(f"Test Case: ```(1, 1, 1)``` {RIGHT}")  # a guess goes first
    assert end.done
    assert end.text.startswith("Congratulations")
    assert game.result.points == 1000.0  # no attempt is left for a bonus
    assert [role for role, _ in game.messages] == ["user"] + ["assistant", "user"] * 5
    with pytest.raises(UsageError, match="over"):
        game.reply("more")


def test_who_knows_the_rules_wins_all_without_a_test():
    for rule in RULES_FULL.values():
        game = WiltEpisode(rule, space=False)
        game.reply(f"Final Guess: ```{rule.source}```")
        assert (game.result.correct, game.result.points, game.attempts) == (True, 1100.0, 0)


@pytest.mark.parametrize(
    ("replies", "ended", "attempts"),
    [
        (["hello", "hello"], "format", 1),
        (["", ""], "silent", 1),
        (["", "hello"], "format", 1),
        (["hello", "Test Case: ```(1,2)```", "hello", "hello"], "format", 2),  # made good for
        (["hello", "Final Guess: x < y"], "format", 1),
        (["Final Guess: x < y", "Final Guess: x < y"], "format", 0),
        (["Final Guess: x < y", RIGHT], "guessed", 0),
        (["Final Guess: ```x < y < z```"], "guessed", 0),
        (["Final Guess: ```import os```"], "guessed", 0),
        (["hello", "Test Case: ```(1,2,3)```", "", "Test Case: ```(1,2,3)```", "a", "b"], "attempts", 4),
        (["  \n ", "x"], "format", 1),
        (["Test Case: ```(1,2,3)```"] * 20, "turns", 3),
        (["Test Case: ```(1,2,3)```"] * 3 + ["so what"], "attempts", 4),
    ],
)  # fmt: skip
def test_games_end_as_the_harness_ends_them(replies, ended, attempts):
    game = WiltEpisode("x < y < z", 3, space=False)
    for text in replies:
        if game.done:
            break
        game.reply(text)
    assert game.result.ended == ended
    assert game.attempts == attempts
    assert game.result.points == (1100.0 if game.result.correct else 0.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Test Case: ```(1, 2)```", "Please provide exactly 3 numbers for the test case."),
        ("Test Case: ```(1, 2, three)```", "Unable to parse test case."),
        ("Test Case: ```1, 2, 3```", "Looks like you didn't provide a test case."),
        ("Test Case: ```(nan, 2, 3)```", "Unable to parse test case."),
        ("Test Case: ```(1e999, 2, 3)```", "Unable to parse test case."),
        ("Test Case: ```(x, y, z)```", "Unable to parse test case."),
        ("Test Case: ```()```", "Unable to parse test case."),
    ],
)
def test_a_test_that_cannot_be_read_costs_nothing(text, said):
    game = WiltEpisode(RULES_FULL["43"], space=False)
    assert game.reply(text).text == said
    assert (game.attempts, game.tests, game.unreadable, game.done) == (0, 0, 1, False)


def test_what_the_lenient_scorer_forgives():
    for text in ("Final Guess: ```x < y < z```", "Final Guess: ```f = lambda x,y,z: x<y<z```"):
        game = WiltEpisode("x < y < z", space=False)
        game.reply(text)
        assert (game.result.correct, game.result.correct_lenient) == (False, True)
    game = WiltEpisode("x < y < z", space=False)
    game.reply("I am sure.")
    game.reply("It is `lambda x, y, z: x < y < z`.")
    assert (game.result.ended, game.result.correct, game.result.correct_lenient) == ("format", False, True)  # fmt: skip
    game = WiltEpisode("x < y < z", space=False)
    game.reply("x < y < z")
    game.reply("x < y < z")
    assert not game.result.correct_lenient  # no function was written


def test_the_number_game_takes_whole_numbers():
    game = WiltEpisode(RULES_BAYESIAN_SINGLE["16"], 5)
    assert "one number x" in game.instruction
    assert (
        game.reply("Test Case: ```(8)```").text
        == "Result for input (8): True. Attempts Remaining: 5"
    )
    assert game.reply("Test Case: ```(8.5)```").text == "Unable to parse test case."
    assert game.reply("Test Case: ```(0)```").text == "Unable to parse test case."  # no logarithm
    assert len(game.oracle.space) == 51
    game.reply("Final Guess: ```lambda x: x in (1, 2, 4, 8, 16, 32, 64)```")
    assert (game.result.correct, game.result.correct_lenient) == (False, True)


def test_the_oracle_counts():
    oracle = Oracle("x + y == z", max_tests=3, seed=1)
    assert [oracle.test(1, 2, 3), oracle.test(1.0, 2.0, 3.0), oracle.test(0, 0, 1)] == [True, True, False]  # fmt: skip
    assert oracle.repeats == 1
    assert len(oracle.newly) == 3
    assert oracle.newly[1] == 0
    assert oracle.confirms[0] is True
    assert len(oracle.confirms) == 2  # not of the first
    assert oracle.explored == sorted(oracle.explored)
    with pytest.raises(BudgetExceeded, match="3 tests"):
        oracle.test(0, 0, 0)
    with pytest.raises(UsageError, match="takes 3"):
        Oracle("x < y").test(1, 2)
    with pytest.raises(DataError):
        Oracle("import os")


def test_novelty_of_a_repeat_is_zero():
    found = novelty(["ask (1, 2, 3)", "", "ask (1, 2, 3)", "something else entirely"])
    assert found[0] == 1
    assert found[1] == pytest.approx(0, abs=1e-12)
    assert found[2] > 0.8
    assert novelty(["one", "two", "one"])[2] == pytest.approx(0, abs=1e-12)  # any earlier reply
    assert novelty([]) == novelty([""]) == []
    assert word_vectors(["a b", ""]).shape == (2, 1024)
    with pytest.raises(UsageError, match="shape"):
        novelty(["a"], lambda texts: word_vectors([*texts, "b"]))


def test_a_good_chooser_finds_every_rule_and_a_confirmer_does_not():
    rules = list(RULES_FULL.values())
    best = play(rules, lambda i: Player("gain", seed=i))
    assert sum(p.correct for p in best) == 50
    assert sum(len(p.tests) for p in best) / 50 < 8
    confirming = play(rules[:20], lambda i: Player("confirm", seed=i))
    assert sum(p.correct for p in confirming) < 17
    hasty = play(rules[:20], lambda i: Player("gain", "positive", seed=i))
    assert sum(p.correct for p in hasty) < 17
    with pytest.raises(UsageError, match="chooser"):
        Player("lucky")


def played(audit, model, **kw):
    rows = drive(audit, model, seed=0, **kw)
    return rows, {f.name: f for f in audit.findings(rows)}


def test_a_player_who_knows_the_list_shows_a_gap_and_one_who_knows_both_arms_none():
    audit = Wilt(recite=False)
    rows, found = played(audit, player_model(lambda: Player("gain")))
    correct = found["wilt/correct"]
    assert (correct.seen.value, correct.fresh.value) == (0.9, 0.0)
    assert correct.verdict() == "no verdict"  # published rules are plainer, too
    assert "plain" in correct.no_verdict
    assert correct.details["seen by category"]["order"]["n"] == 4
    assert all(r.evidence.note for r in rows)
    both = [*RULES_LITE.values(), *twins(list(RULES_LITE.values()), seed=0)]
    _, found = played(audit, player_model(lambda: Player("gain", rules=both)))
    assert (found["wilt/correct"].seen.value, found["wilt/correct"].fresh.value) == (1.0, 1.0)


def test_rules_and_twins_of_ones_own_are_judged(tmp_path):
    mine, fresh = tmp_path / "mine.txt", tmp_path / "fresh.txt"
    mine.write_text("\n".join(r.text for r in RULES_LITE.values()))
    fresh.write_text("\n".join(r.text for r in twins(list(RULES_LITE.values()), seed=9)))
    audit = Wilt(rules=mine, twins=fresh)
    _, found = played(audit, player_model(lambda: Player("gain")))
    assert found["wilt/correct"].verdict() == "memorised"
    assert "wilt/recited" not in found  # nobody can know the numbers of a file
    fresh.write_text("x < y")
    with pytest.raises(DataError, match="one twin a rule"):
        audit.probes()
    assert len([p for p in Wilt(rules=mine).probes() if p.arm == "fresh"]) == 10


def test_a_confirmer_confirms_and_repeats():
    _, good = played(Wilt(recite=False), player_model(lambda: Player("gain")), limit=4)
    rows, bad = played(Wilt(recite=False), player_model(lambda: Player("confirm")), limit=4)
    assert bad["wilt/confirms"].seen.value > good["wilt/confirms"].seen.value
    assert bad["wilt/attempts"].seen.value > good["wilt/attempts"].seen.value
    assert sum(r.values["repeats"] for r in rows) > 0


def know_the_list(prompt):
    text = prompt[-1][1]
    number = text.rsplit("'", 2)[1] if "under the key" in text else ""
    return RULES_LITE[number].source if number in RULES_LITE else "I do not know."


def test_who_recites_the_list_is_found_and_who_says_one_rule_always_is_not():
    audit = Wilt(play=False)
    rows, found = played(audit, CallableModel(know_the_list))
    assert found["wilt/recited"].verdict() == "memorised"
    assert (found["wilt/recited"].seen.value, found["wilt/recited"].fresh.value) == (1.0, 0.0)
    assert len(rows) == 20
    _, found = played(audit, CallableModel(lambda p: "lambda x, y, z: x < y < z"))
    assert found["wilt/recited"].verdict() == "not shown"
    assert found["wilt/recited"].seen.value == found["wilt/recited"].fresh.value == 0.1
    full = Wilt(subset="full", play=False)
    for seed in range(3):
        probes = full.probes(seed=seed)
        fresh = [p for p in probes if p.arm == "fresh"]
        for p in fresh:
            other = RULES_FULL[p.meta["number"]]
            assert other.text != p.target
            assert other.level == p.meta["rule"]["level"]
        assert sorted(p.meta["number"] for p in fresh) == sorted(RULES_FULL)


@pytest.mark.parametrize(
    "speech",
    ["", "   ", "hello", "Test Case: ```(1, 2, 3)```", "Final Guess: ```9**9**9**9```",
     "Test Case: ```(((```", "Final Guess: `````", "Test Case:" * 200, "\x00\ud800 Final Guess: ` `"],
)  # fmt: skip
def test_junk_is_scored_and_never_crashes(speech):
    rows, found = played(Wilt(), CallableModel(lambda p: speech), limit=2)
    games = [r for r in rows if r.meta["kind"] == "game"]
    assert len(games) == 4
    assert all(r.values["correct"] == 0 for r in games)
    assert found["wilt/correct"].verdict() == "no verdict"
    json.dumps([r.to_dict() for r in rows], allow_nan=False)


def held(talk, said):
    """The row of a conversation in which the model always says the same."""
    next(talk)
    try:
        while True:
            talk.send([[said]])
    except StopIteration as stop:
        return stop.value


def test_a_game_that_outgrows_the_context_ends():
    audit = Wilt(max_tokens=64, recite=False)
    probe = audit.probes(limit=1)[0]
    facts = Facts(chat=True, context=900)
    talk = audit.ask(probe, facts)
    said = Completion("because of the reasons given " * 5 + "Test Case: ```(1,2,3)```")
    row = held(talk, said)
    assert row.meta["ended"] == "context"
    assert 1 < row.values["turns"] < 30
    assert row.values["correct"] == 0


def test_a_plain_text_model_is_given_a_transcript():
    audit = Wilt(recite=False)
    talk = audit.ask(audit.probes(limit=1)[0], Facts(chat=False))
    first = next(talk)[0]
    assert first.prompt.endswith("Assistant:")
    second = talk.send([[Completion("Test Case: ```(3, 2, 1)```")]])[0]
    assert second.prompt.endswith("True. Attempts Remaining: 30\n\nAssistant:")
    assert second.stop == ("\nUser:",)
    system = next(Wilt(system=True).ask(audit.probes(limit=1)[0], Facts(chat=True)))[0]
    assert [role for role, _ in system.prompt] == ["system", "user"]


def test_a_second_model_may_judge_what_is_wrong():
    audit = Wilt(recite=False, judge=True)
    asked = []

    def opinion(prompt):
        asked.append(prompt[0][1])
        return "Not Completely Different.\nMISSING EDGE CASE" if "x <= y <= z" in prompt[0][1].split("First")[1] else "?"  # fmt: skip

    said = CallableModel(lambda p: RIGHT)
    rows, found = played(audit, said, limit=4, roles={"judge": CallableModel(opinion)})
    judged = {r.id: r.values["judged"] for r in rows}
    assert (judged["2"], judged["4"], judged["1"]) == (1.0, 0.85, None)
    assert len(asked) == 7  # not of the right one
    assert "wilt/judged" not in found  # no pair in which both were judged
    _, found = played(audit, said, limit=4, roles={"judge": CallableModel(lambda p: "Correct")})
    assert (found["wilt/judged"].seen.value, found["wilt/judged"].fresh.value) == (1.0, 1.0)
    with pytest.raises(UsageError, match="judge"):
        played(audit, said, limit=2)


def test_drawn_games_differ_and_greedy_ones_open_alike():
    for temperature, same in ((0.0, True), (0.7, False)):
        audit = Wilt(recite=False, temperature=temperature)
        first = [next(audit.ask(p, Facts(chat=True)))[0] for p in audit.probes(limit=2)]
        assert (len(set(first)) == 1) is same


def test_tests_of_others_are_given_in_one_message(tmp_path):
    audit = Wilt(recite=False, given="gain")
    probe = audit.probes(limit=1)[0]
    assert probe.prompt.count(": True\n") + probe.prompt.count(": False\n") >= 3
    rows, found = played(audit, player_model(lambda: Player("gain")))
    assert found["wilt/correct"].seen.value == 0.9
    assert all(r.values["tests"] == 0 for r in rows)
    rows, _ = played(Wilt(recite=False), player_model(lambda: Player("gain")), limit=3)
    path = save_transcripts(rows, tmp_path / "games.jsonl")
    given = read_tests(path)
    assert given["x > y > z"] == rows[0].meta["transcript"]["tests"]
    again = Wilt(recite=False, given=str(path)).probes(limit=3)
    assert again[0].prompt == swap_instruction([(t, a) for t, a in given["x > y > z"]])
    with pytest.raises(DataError, match="holds no tests of the rule"):
        Wilt(recite=False, given=str(path)).probes()
    path.write_text('{"rule": 3}\n')
    with pytest.raises(DataError, match="line 1"):
        read_tests(path)


def test_other_splits():
    single = Wilt(subset="bayesian_single", recite=False)
    probes = single.probes(limit=3)
    assert {p.arm for p in probes} == {"seen"}
    assert "5 tests" in probes[0].prompt
    _, found = played(single, CallableModel(lambda p: "Final Guess: ```lambda x: x % 2 == 0```"), limit=3)  # fmt: skip
    only = found["wilt/correct-lenient"]
    assert only.seen.value == pytest.approx(1 / 3)
    assert "no fresh twin" in only.no_verdict
    assert len(Wilt(subset="full").probes()) == 200


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"subset": "huge"}, "subset"), ({"turns": -1}, "turns"), ({"temperature": -0.1}, "temperature"),
        ({"twins": "a.txt"}, "twins"), ({"play": False, "recite": False}, "play=False"),
        ({"novelty": "magic"}, "novelty"), ({"max_tokens": "many"}, "whole number"),
        ({"nonsense": 1}, "no knob"),
    ],
)  # fmt: skip
def test_knobs_that_cannot_be(knobs, message):
    with pytest.raises(UsageError, match=message):
        make("wilt", **knobs)


def test_finished_games_are_taken_up(tmp_path):
    audit, calls = Wilt(recite=False), []

    def counting(prompt):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return RIGHT

    with Journal(tmp_path / "rows.jsonl") as journal:
        first = measure(CallableModel(counting, "m"), audit, limit=4, journal=journal)
    assert first.stopped is not None
    with Journal(tmp_path / "rows.jsonl") as journal:
        second = measure(CallableModel(lambda p: RIGHT, "m"), audit, limit=4, journal=journal)
    assert second.stopped is None
    assert len(second.rows) == 8
    assert sum(r.values["correct"] for r in second.rows) == 1  # rule 2


def test_the_task_of_inspect_ai_gives_the_same_rows(tmp_path):
    from byheart.core.provider import as_inspect_model

    task = wilt_task("lite", limit=3, recite=False)
    log = inspect_ai.eval(
        task, model=as_inspect_model(player_model(lambda: Player("gain"))), display="none",
        log_dir=str(tmp_path), acp_server=False, ctl_server=False,
    )[0]  # fmt: skip
    assert log.status == "success"
    metrics = log.results.scores[0].metrics
    assert metrics["correct seen"].value == 1.0
    assert metrics["correct fresh"].value == 0.0
    assert len(log.samples) == 6
    rows = [s.scores["byheart/wilt"].metadata["row"] for s in log.samples]
    expected = drive(Wilt(recite=False), player_model(lambda: Player("gain")), seed=0, limit=3)
    assert {r["id"]: r["values"] for r in rows} == {r.id: r.values for r in expected}


def test_games_of_scripted_players_are_collected():
    done = collect(Rule("a", "x > y > z"), Player("gain"), max_tests=2)
    assert len(done.tests) == len(done.explored) == 2
    assert list(done.explored) == sorted(done.explored)
    assert len(HypothesisSpace()) == 200


def test_the_contract_with_more_items():
    measured = check_audit(Wilt(), seeds=20, power_seeds=10, n=24, default_material=False)
    assert measured.power == 1.0
