"""`byheart memory cube` and the verbs of an item's life."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def do(run):
    """A verb that must succeed; its JSON."""

    def call(*words, **options):
        code, out, err = run(*words, "--json", **options)
        assert code == 0, err
        return json.loads(out)

    return call


@pytest.fixture
def trip(do):
    """Ids of two notes in the cube "trip"."""
    ids = do("write", "The trip is in May.", "We fly to Lisbon.")["ids"]
    do("cube", "create", "trip", *ids)
    return ids


def texts(do, cube, *more):
    return sorted(i["content"] for i in do("cube", "show", cube, *more)["items"])


def test_create_commit_branch_merge_show(do, run, trip):
    assert [c["name"] for c in do("cube", "list")] == ["trip"]
    do("cube", "branch", "trip", "idea")
    do("cube", "commit", "trip@idea", "--text", "We take the train.", "--instead-of", trip[1],
       "-m", "slower")  # fmt: skip
    assert texts(do, "trip") == ["The trip is in May.", "We fly to Lisbon."]
    assert texts(do, "trip@idea") == ["The trip is in May.", "We take the train."]
    assert "train" not in run("recall", "train fly")[1]
    do("cube", "merge", "trip", "idea")
    assert texts(do, "trip") == ["The trip is in May.", "We take the train."]
    assert texts(do, "trip", "--version", "1") == ["The trip is in May.", "We fly to Lisbon."]
    assert [(v["number"], v["branch"], v["message"]) for v in do("cube", "versions", "trip")] == [
        (1, "main", "made"), (2, "idea", ""), (3, "idea", "slower"),
        (4, "main", "merge idea into main"),
    ]  # fmt: skip
    out = run("cube", "show", "trip")[1]
    assert "owner: local" in out
    assert "We take the train." in out
    assert "4  main  after 1 and 3" in run("cube", "versions", "trip")[1]
    assert "trip  Generated  of local  2 items" in run("cube", "list")[1]


def test_ids_come_from_a_pipe_and_texts_become_items(do, run):
    ids = do("write", "one", "two")["ids"]
    do("cube", "create", "x", "-", "--text", "three", stdin="\n".join(ids))
    assert texts(do, "x") == ["one", "three", "two"]
    assert "three" in run("recall", "three")[1]
    do("cube", "commit", "x", "--drop", ids[0])
    assert texts(do, "x") == ["three", "two"]


@pytest.fixture
def torn(do, trip):
    """Both branches changed the second note; ids of ours and theirs."""
    do("cube", "branch", "trip", "idea")
    sides = []
    for cube, text in (("trip", "We drive."), ("trip@idea", "We take the train.")):
        do("cube", "commit", cube, "--text", text, "--instead-of", trip[1])
        content = {i["content"]: i["id"] for i in do("cube", "show", cube)["items"]}
        sides.append(content[text])
    return sides


def test_conflicts_are_listed_with_what_each_side_says(run, torn, trip):
    code, out, err = run("cube", "merge", "trip", "idea")
    assert code == 1
    for said in ("conflict over", trip[1], "We fly to Lisbon.", "We drive.", "We take the train."):
        assert said in out
    assert "1 conflicts, nothing was changed; give --take ours" in err
    code, out, _ = run("cube", "merge", "trip", "idea", "--json")
    told = json.loads(out)
    assert code == 1
    assert told["conflicts"] == [
        {"key": trip[1], "base": trip[1], "ours": torn[0], "theirs": torn[1]}
    ]
    assert told["contents"][torn[1]] == "We take the train."


@pytest.mark.parametrize(
    ("take", "left"),
    [
        (("ours",), "We drive."),
        (("theirs",), "We take the train."),
        (("OURS",), "We drive."),
        (("THEIRS", "ours"), "We take the train."),
    ],
)
def test_conflicts_are_resolved_as_told(do, torn, take, left):
    words = [{"OURS": torn[0], "THEIRS": torn[1]}.get(t, t) for t in take]
    do("cube", "merge", "trip", "idea", *(w for t in words for w in ("--take", t)))
    assert texts(do, "trip") == ["The trip is in May.", left]


@pytest.mark.parametrize(
    ("take", "code", "said"),
    [
        (("ours", "theirs"), 2, "contradict"),
        (("nope",), 1, "conflicts"),
        (("OURS", "THEIRS"), 2, "two versions"),
    ],
)
def test_a_take_that_decides_nothing_changes_nothing(run, do, torn, take, code, said):
    before = do("cube", "versions", "trip")
    words = [{"OURS": torn[0], "THEIRS": torn[1]}.get(t, t) for t in take]
    got, _, err = run("cube", "merge", "trip", "idea", *(w for t in words for w in ("--take", t)))
    assert (got, said in err) == (code, True), err
    assert do("cube", "versions", "trip") == before


def test_compose(do, run, torn):
    code, out, err = run("cube", "compose", "both", "trip", "trip@idea")
    assert code == 1
    assert "We drive." in out
    assert "--take first" in err
    do("cube", "compose", "both", "trip", "trip@idea", "--take", "last")
    assert texts(do, "both") == ["The trip is in May.", "We take the train."]


def test_sharing_closes_and_opens_a_cube(do, run, trip):
    assert run("recall", "Lisbon", "--json")[1] != "[]\n"
    do("cube", "share", "trip", "--read", "ben")
    assert texts(do, "trip", "--as", "ben")
    code, _, err = run("cube", "show", "trip", "--as", "eva")
    assert (code, "unknown cube" in err) == (2, True)
    code, _, err = run("cube", "commit", "trip", "--text", "x", "--as", "ben")
    assert (code, "may not write" in err) == (2, True)
    do("cube", "share", "trip", "--owner", "ben")
    assert do("cube", "show", "trip", "--as", "ben")["access"] == {"read": ["ben"]}
    do("cube", "share", "trip", "--nobody", "--as", "ben")
    assert do("cube", "show", "trip", "--as", "ben")["access"] == {}
    assert "unknown cube" in run("cube", "show", "trip")[2]


def test_the_caller_from_the_environment_is_the_caller_of_every_verb(do, run, trip, monkeypatch):
    monkeypatch.setenv("BYHEART_ACTOR", "ben")
    assert run("recall", "Lisbon")[1] == ""  # it is in a cube of another
    do("write", "Ben's own")
    assert json.loads(run("log", "--kind", "write", "--json")[1])["actor"] == "ben"


def test_a_cube_is_frozen_archived_and_expires(do, run, trip):
    do("cube", "freeze", "trip", "--reason", "signed")
    code, _, err = run("cube", "commit", "trip", "--text", "x")
    assert (code, "is frozen" in err) == (2, True)
    code, _, err = run("cube", "move", "trip", "--to-scope", "other")
    assert (code, "unfreeze it first" in err) == (2, True)
    do("cube", "unfreeze", "trip")
    do("cube", "archive", "trip")
    do("cube", "activate", "trip")
    do("cube", "expire", "trip")
    assert do("cube", "list")[0]["state"] == "Expired"
    code, _, err = run("cube", "activate", "trip")
    assert (code, "expired" in err) == (2, True)
    assert run("recall", "Lisbon")[1]  # the items stay


def test_a_cube_moves_and_travels_as_a_file(do, run, trip, tmp_path):
    file = tmp_path / "trip.jsonl"
    assert run("cube", "export", "trip", str(file))[0] == 0
    assert run("cube", "export", "trip", "-")[1] == file.read_text()
    do("cube", "import", str(file), "--scope", "guest")
    assert texts(do, "trip", "--scope", "guest") == texts(do, "trip")
    do("cube", "move", "trip", "--to", str(tmp_path / "other.db"), "--to-scope", "acme/team")
    there = ("--db", str(tmp_path / "other.db"), "--scope", "acme/team")
    assert texts(do, "trip", *there) == ["The trip is in May.", "We fly to Lisbon."]
    assert do("cube", "list")[0]["state"] == "Archived"
    code, _, err = run("cube", "move", "trip", "--to-scope", "x")
    assert (code, "is Archived" in err) == (2, True)


def test_only_its_owner_moves_a_cube_and_nothing_is_left_there(do, run, trip):
    do("cube", "share", "trip", "--read", "ben", "--share", "ben")
    code, _, err = run("cube", "move", "trip", "--to-scope", "ben", "--as", "ben")
    assert (code, "only its owner" in err) == (2, True)
    assert do("stats", "--scope", "ben")["items"] == 0


def test_the_life_of_an_item(do, run):
    (id,) = do("write", "Ana likes tea")["ids"]
    do("freeze", id)
    code, _, err = run("supersede", id, "Ana likes coffee")
    assert (code, "Frozen" in err) == (2, True)
    assert "is not frozen" not in run("unfreeze", id)[2]
    code, _, err = run("unfreeze", id)
    assert (code, "is not frozen, it is Activated" in err) == (2, True)
    do("archive", id)
    assert run("recall", "tea")[1] == ""
    do("activate", id, "--reason", "asked for")
    assert run("recall", "tea")[1]
    do("transition", id, "Merged")
    code, _, err = run("expire", id)
    assert (code, "no step leads from Merged to Expired" in err) == (2, True)
    do("archive", id)
    do("expire", id)
    assert do("show", id)["state"] == "Expired"
    code, _, err = run("transition", id, "Asleep")
    assert (code, "Generated, Activated" in err) == (2, True)


def test_timers_and_links(do, run):
    do("write", "soon over", "--expires", "2020-01-01")
    assert len(do("expire")["ids"]) == 1
    assert do("expire", "--idle", "1")["ids"] == []
    a, b = do("write", "a", "b")["ids"]
    do("link", a, b, "--label", "next", "--weight", "0.5")
    assert do("show", a)["links"] == [{"from": a, "to": b, "label": "next", "weight": 0.5}]
    do("unlink", a, b, "--label", "next")
    assert do("show", a)["links"] == []
    for words, said in (
        (("expire", a, "--idle", "1"), "contradict"),
        (("expire", "--idle", "nan"), "number of days"),
        (("expire", "--idle", "-1"), "above zero"),
        (("expire", "--idle", "1e30"), "number of days"),
        (("expire", "--reason", "x"), "goes with an id"),
        (("link", a, "nope"), "unknown item"),
        (("link", a, a), "not linked to itself"),
        (("link", a, b, "--weight", "nan"), "finite"),
    ):
        code, _, err = run(*words)
        assert (code, said in err) == (2, True), (words, err)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "trpi"), "did you mean 'trip'"),
        (("show", "trip@ide"), "unknown branch"),
        (("show", "trip", "--version", "9"), "unknown version"),
        (("show", "@x"), "name or name@branch"),
        (("create", "trip"), "there already"),
        (("create", "a@b"), "without @"),
        (("create", "y", "nope"), "unknown item"),
        (("create", "y", "--expires", "soon"), "cannot be read"),
        (("create", "y", "--text", " "), "empty"),
        (("commit", "trip"), "changes nothing"),
        (("commit", "trip", "--drop", "nope"), "unknown item of this branch"),
        (("commit", "trip", "--instead-of", "x"), "one --text"),
        (("branch", "trip", "main"), "already"),
        (("branch", "trip", "x", "--from", "nope"), "unknown branch"),
        (("merge", "trip", "nope"), "unknown branch"),
        (("merge", "trip", "main"), "into itself"),
        (("commit", "trip", "--put", "x", "--drop", "x"), "to be put and to be dropped"),
        (("compose", "y", "trip"), "at least two"),
        (("compose", "y", "trip", "trip", "--take", "ours"), "first"),
        (("share", "trip"), "nothing to change"),
        (("share", "trip", "--read", "x", "--nobody"), "contradict"),
        (("unfreeze", "trip"), "is not frozen"),
        (("move", "trip"), "where to?"),
        (("export", "nope", "-"), "unknown cube"),
        (("list", "--as", ""), "actor must be a name"),
        (("list", "--as", "*"), "actor must be a name"),
    ],
)
def test_wrong_use_is_told_in_one_line_and_changes_nothing(run, do, trip, words, said):
    before = do("stats")
    code, out, err = run("cube", *words)
    assert code == 2, (out, err)
    assert said in err
    assert err.count("\n") == 1
    assert do("stats") == before
