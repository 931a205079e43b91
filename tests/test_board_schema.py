"""The JSON of boards is as board.schema.json says, and a board of another schema is refused."""

import json
from dataclasses import asdict, fields, is_dataclass

import jsonschema
import pytest
from factories import ROOT, every_fact, harness, record, refuse_unlike_schema, trained_at

from harness.board import build, facts
from harness.board.board_json import read_board_json, refuse_other_schema
from harness.board.entries import SCHEMA, Entry, Run
from harness.board.facts import BoardFacts, Note
from harness.errors import DataError
from harness.records.columns import Columns
from harness.types import Budget, Cost

SHIPPED = json.loads((ROOT / "harness/board/board.schema.json").read_text(encoding="utf-8"))
BOARDS = sorted((ROOT / "leaderboards").glob("*.json"))


def run(values, seed=None, cost=None, status="done"):
    records = [record(f"t/test/{i}", value) for i, value in enumerate(values)]
    return Run("d" * 64, Columns.of(records), seed=seed, cost=cost, status=status)


def entries():
    """A base, two strategies with seeds enough for a claim, and one that collapsed."""
    sft, rl = (tuple(run([1, 1, (s + k) % 2, 0] * 9, s, Cost()) for s in range(4)) for k in (0, 1))
    strategies = {"sft": sft, "rl": rl, "dead": (run([0] * 36, 1, Cost(), "collapsed"),)}
    base = Entry("base", "base", (run([1, 0, 0, 0] * 9),))
    return [base, *(Entry(name, "strategy", runs) for name, runs in strategies.items())]


def made(of=None):
    defects = {"t": {"t/test/0": "the gold is wrong"}}
    return asdict(build.build_board("t", entries(), of or every_fact(), [Note("limited", limit=7)], defects))


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SHIPPED)
    assert SHIPPED["$defs"]["board"]["properties"]["schema"] == {"const": SCHEMA}


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_every_committed_board_fits(path):
    refuse_unlike_schema(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("of", [every_fact(), BoardFacts(), trained_at(Budget(1e9, "tokens"))])
def test_a_board_fits_whatever_is_recorded(of):
    board = made(of)
    assert board["pairs"]
    refuse_unlike_schema(board)
    nothing = build.build_board("t", [Entry("m", "model", (run([None, None]),))], of)
    refuse_unlike_schema(asdict(nothing))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda board: board["facts"]["tasks"]["t"].update(limit="50 items"), "'50 items' is not of type 'integer'"),
        (lambda board: board["facts"].update({"test-set evaluations so far": "2"}), "were unexpected|was unexpected"),
        (lambda board: board["notes"].append("a sentence"), "'a sentence' is not of type 'object'"),
        (lambda board: board["rows"][0]["strict"].update(value=61.3), "61.3 is greater than the maximum of 1"),
        (lambda board: board["rows"][0]["runs"][0].pop("digest"), "'digest' is a required property"),
        (lambda board: board["pairs"][0].update(p=None), "None is not of type 'number'"),
        (lambda board: board.update(schema=2), f"{SCHEMA} was expected"),
    ],
)
def test_a_board_that_is_not_does_not_fit(change, why):
    board = json.loads(json.dumps(made()))
    change(board)
    with pytest.raises(jsonschema.ValidationError, match=why):
        refuse_unlike_schema(board)


def test_the_schema_has_every_field_of_the_facts():
    kinds = [kind for kind in vars(facts).values() if isinstance(kind, type) and is_dataclass(kind)]
    of_facts = [kind for kind in kinds if kind.__module__ == facts.__name__]
    assert len(of_facts) > 10
    for kind in of_facts:
        assert list(SHIPPED["$defs"][kind.__name__]["properties"]) == [field.name for field in fields(kind)]


@pytest.mark.parametrize(
    ("kind", "again"),
    [
        (None, "harness leaderboard build RUN --out BOARD.md, or the command that made the run"),
        ("collection", "harness leaderboard build RUN"),
        ("comparison", "harness compare RUN RUN --out BOARD.md"),
        ("reported", "harness leaderboard reported SCORES.toml"),
    ],
)
def test_another_schema_is_refused_with_the_command_that_writes_the_board_again(tmp_path, kind, again):
    path = tmp_path / "old.json"
    path.write_text(json.dumps({"schema": 2, **({"kind": kind} if kind else {})}))
    with pytest.raises(DataError, match=rf"old\.json has schema 2, and this version reads {SCHEMA}; .*{again}"):
        read_board_json(path)


def test_commands_refuse_a_board_of_another_schema(tmp_path):
    (tmp_path / "b.json").write_text(json.dumps({**made(), "schema": 2}))
    (tmp_path / "b.md").write_text("# t\n")
    for command in (("check", "b.md"), ("publish", "b.json", "--to", "sft=me/m", "--dry-run")):
        done = harness("leaderboard", *command, cwd=tmp_path)
        assert done.returncode != 0
        assert f"has schema 2, and this version reads {SCHEMA}" in done.stderr
    with pytest.raises(DataError, match=r"is not the \.json of a board: it has no schema"):
        refuse_other_schema({"rows": []}, "x.json")
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(DataError, match=r"c\.json cannot be read as JSON"):
        read_board_json(tmp_path / "c.json")
