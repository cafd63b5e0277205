"""WILT handled roughly: rules with gaps, hostile guesses, splits that do not go together, files of runs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from byheart.audits.wilt import (
    LIMITS,
    RULES_BAYESIAN_SINGLE,
    RULES_FULL,
    Player,
    Rule,
    Wilt,
    WiltEpisode,
    judge,
    player_model,
    points,
    read_tests,
    save_transcripts,
    swap_instruction,
)
from byheart.core.drive import drive
from byheart.core.errors import BudgetExceeded, DataError, UsageError
from byheart.core.journal import Journal
from byheart.core.model import CallableModel
from byheart.core.run import measure


@pytest.mark.parametrize(
    ("rule", "asked"),
    [
        (RULES_BAYESIAN_SINGLE["5"], "99999999999999"),  # a range too long to be walked
        (RULES_BAYESIAN_SINGLE["5"], "9" * 4000),
        (Rule("own", "[x, y, z][int(x) % 4] > 0"), "3, 1, 1"),
        (Rule("own", "round(x).is_integer()"), "3, 1, 1"),
        (Rule("own", "int(x) ** int(y) > z"), "999, 99999, 1"),
        (Rule("own", "1 / (x - y) > z"), "1, 1, 1"),
        (Rule("own", "{[x]} == 1"), "1, 1, 1"),
    ],
)
def test_a_test_that_the_rule_cannot_answer_ends_no_run(rule, asked):
    game = WiltEpisode(rule, 5, space=False)
    assert game.reply(f"Test Case: ```({asked})```").text == "Unable to parse test case."
    assert (game.attempts, game.unreadable, game.done) == (0, 1, False)


def test_a_run_over_ones_own_rules_with_gaps_goes_to_its_end(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("[x, y, z][int(abs(x)) % 4] > 0\nx + y > 2 * z\n")
    rows = drive(Wilt(rules=path), CallableModel(lambda p: "Test Case: ```(3, 1, 1)```"), seed=0)
    assert {r.values["unreadable"] for r in rows if r.id == "1"} == {70.0}
    assert {r.meta["ended"] for r in rows} == {"turns"}


@pytest.mark.parametrize(
    "guess",
    ["x in range(99999)", "x not in range(99999)", "math.lcm(*range(1, 2000)) > x",
     "all(x in range(9999) for k in range(9999))"],
)  # fmt: skip
def test_a_guess_that_walks_long_lists_is_given_up_soon(guess):
    began = time.monotonic()
    found = judge(RULES_FULL["2"], f"lambda x, y, z: {guess}")
    assert found.reason.startswith("too much work")
    assert time.monotonic() - began < 10  # seconds; it took 30, the limit of the clock


def test_short_lists_may_be_looked_into():
    assert judge(RULES_FULL["2"], "lambda x, y, z: x < y < z and x not in (y, z)").correct
    rule = RULES_BAYESIAN_SINGLE["33"]
    assert judge(rule, "lambda x: x in range(9, 100, 10)").correct_lenient


@pytest.mark.parametrize("subset", ["bayesian", "bayesian_single"])
def test_scripted_players_do_not_play_the_bayesian_splits(subset):
    with pytest.raises(UsageError, match="scripted players"):
        Wilt(subset=subset, given="gain")


def test_tests_of_another_model_in_the_number_game(tmp_path):
    audit = Wilt(subset="bayesian_single", recite=False)
    said = iter(["Test Case: ```(8)```", "Final Guess: ```lambda x: x % 2 == 0```"])
    rows = drive(audit, CallableModel(lambda p: next(said)), seed=0, limit=1)
    path = save_transcripts(rows, tmp_path / "games.jsonl")
    prompt = Wilt(subset="bayesian_single", recite=False, given=str(path)).probes(limit=1)[0].prompt
    assert "one number x" in prompt
    assert "\n(8): True\n" in prompt
    assert "```lambda x: x < 0```" in prompt
    assert "three numbers x, y and z" in swap_instruction([((1, 2, 3), True)])


def test_transcripts_of_ones_own_lambdas_are_found_again(tmp_path):
    mine = tmp_path / "mine.txt"
    mine.write_text("lambda a, b, c: a == c\nlambda x, y, z: x < y\nz > 2\n")
    audit = Wilt(rules=mine, recite=False)
    rows = drive(audit, player_model(lambda: Player("gain")), seed=0)
    path = save_transcripts(rows, tmp_path / "games.jsonl")
    again = Wilt(rules=mine, recite=False, given=str(path)).probes()
    assert len(again) == len(audit.probes())
    for probe, row in zip(again, sorted(rows, key=lambda r: [p.id for p in again].index(r.id)), strict=True):  # fmt: skip
        tests = row.meta["transcript"]["tests"]
        assert probe.prompt == swap_instruction([(t, a) for t, a in tests])


def test_the_rows_of_a_run_serve_as_transcripts(tmp_path):
    """What ``byheart audit --out FOLDER`` leaves behind: ``given=FOLDER/rows.jsonl`` is a test swap."""
    path = tmp_path / "rows.jsonl"
    with Journal(path) as journal:
        done = measure(player_model(lambda: Player("gain")), Wilt(), limit=3, journal=journal)
    games = [r for r in done.rows if r.meta["kind"] == "game"]
    given = read_tests(path)
    assert len(given) == len(games) == 6  # what was recited is no game
    assert given["x > y > z"] == next(r for r in games if r.id == "1").meta["transcript"]["tests"]
    path.write_text(json.dumps({"key": "k", "row": {"meta": {"kind": "recite"}}}) + "\n")
    with pytest.raises(DataError, match="no game"):
        read_tests(path)


def test_the_average_novelty_is_reported_beside_the_least():
    audit = Wilt(recite=False)
    said = iter(range(10**6))
    rows = drive(audit, CallableModel(lambda p: f"Test Case: ```({next(said)}, 2, 3)```"), seed=0, limit=2)  # fmt: skip
    found = {f.name: f for f in audit.findings(rows)}
    expected = sum(r.values["novelty"] for r in rows if r.arm == "seen") / 2
    assert found["wilt/novelty"].seen.value == pytest.approx(expected)
    assert found["wilt/novelty"].seen.value > found["wilt/novelty-least"].seen.value


@pytest.mark.parametrize(
    "guess",
    [
        "math.hypot(*[x] * 1900) > y",
        "sorted([x, y, z] * 600)[0] < 0",
        "sorted([x + i * j for i in range(300) for j in range(300)])[0] > 0",
        "[[x + i for i in range(400)] for j in range(400)] == []",
        "list(map(lambda i: list(map(lambda j: x + i + j, range(400))), range(400))) == []",
    ],
)
def test_no_guess_fills_the_memory(guess):
    """Columns are long: a list of a thousand of them is half a gigabyte. (A process of its own, for
    what counts is its largest size; `ru_maxrss` would count the process that began it, too.)"""
    code = (
        "import sys; from pathlib import Path; from byheart.audits.wilt import RULES_FULL, judge; "
        "judge(RULES_FULL['2'], sys.argv[1]); told = Path('/proc/self/status'); "
        "lines = told.read_text().splitlines() if told.exists() else ['VmHWM: 0 kB']; "
        "print(next(line.split()[1] for line in lines if line.startswith('VmHWM')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, f"lambda x, y, z: {guess}"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert int(done.stdout) < 1_200_000  # kilobytes


def test_columns_keep_to_the_clock(monkeypatch):
    """What steps do not bound on a slow machine, time does, in columns as point by point."""
    from byheart.audits._wilt import scalar

    monkeypatch.setattr(scalar, "LIMITS", replace(LIMITS, seconds=-1.0))
    with pytest.raises(BudgetExceeded):
        RULES_FULL["2"].function.over(*points(0).wide)
