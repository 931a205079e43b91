"""Everything a board is published as says the same."""

import base64
import csv
import io
import json
import re
import zlib
from dataclasses import asdict, replace
from xml.etree import ElementTree

import pytest
from factories import record, refuse_unlike_schema, written

from harness.board import against_reference, build, collection, existing_runs, files, render
from harness.board.entries import Entry, Ranking, Run
from harness.board.facts import BoardFacts
from harness.records.columns import Columns
from harness.rendering import tables
from harness.statistics import intervals
from harness.types import Cost, Score

BASE = [1, 0, 0, 0] * 25
BETTER = [1, 1, 0, 0] * 25
NEAR = [1, 0, 0, 0] * 24 + [1, 1, 0, 0]


def run(values, digest, seed=None, status="done", why="", cost=None):
    records = [record(f"t/test/{i:03d}", v, checkpoint=digest * 64) for i, v in enumerate(values)]
    return Run(digest * 64, Columns.of(records), seed=seed, cost=cost, status=status, why=why)


def board(*entries, **more):
    base = Entry("base", "base", (run(BASE, "b"),))
    return build.build_board("t", [base, *entries], BoardFacts(), **more)


def strategy(name, values, digest, tried=None, **changes):
    return Entry(name, "strategy", (run(values, digest, 1, cost=Cost(flops_train=1e9), **changes),), tried)


def published(folder, *entries):
    base = Entry("base", "base", (run(BASE, "b"),))
    made = build.build_board("t", [base, *entries], BoardFacts())
    out = folder / "board.md"
    facts, groups = asdict(made), [[base, *entries]]
    drawings = files.draw_pictures(facts, groups, {})
    written_ones = files.write_board_files(out, facts, groups, drawings, render.markdown_of_facts, with_page=True)
    return out, written_ones


def test_all_forms_are_written_and_hold_the_same_scores(tmp_path):
    out, paths = published(tmp_path, strategy("sft", BETTER, "a", tried=(4,)), strategy("rl", NEAR, "c"))
    assert [path.suffix for path in paths] == [".md", ".json", ".csv", ".html"]
    facts = json.loads(out.with_suffix(".json").read_text())
    refuse_unlike_schema(facts)
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(out.with_suffix(".csv").read_text()))}
    assert {name: float(row["strict"]) for name, row in rows.items()} == {"sft": 0.5, "rl": 0.26, "base": 0.25}
    assert tuple(rows[name]["difference_verdict"] for name in ("sft", "rl", "base")) == ("better", "not told apart", "")
    assert (rows["sft"]["settings_tried"], rows["sft"]["cost_flops_train"]) == ("4", "1000000000.0")
    assert float(rows["sft"]["difference_low"]) == facts["rows"][0]["difference"]["low"]
    held = re.search(r'id="board">(.*?)</script>', out.with_suffix(".html").read_text())[1]
    assert json.loads(held)["board"] == facts
    assert [p["file"] for p in facts["pictures"]] == [
        f"board/{k}.svg" for k in ("pareto", "forest", "dots", "ranks", "wins")
    ]
    for picture in facts["pictures"]:
        assert ElementTree.parse(tmp_path / picture["file"]).getroot().tag.endswith("svg")
        assert f"]({picture['file']})" in out.read_text()


def test_a_board_is_stale_when_any_of_it_is_not_what_the_facts_give(tmp_path):
    out, _ = published(tmp_path, strategy("sft", BETTER, "a"))
    assert collection.is_current(out)
    table = out.with_suffix(".csv")
    text = table.read_text()
    table.write_text(text.replace("0.5", "0.6", 1))
    assert not collection.is_current(out)
    table.write_text(text)
    assert collection.is_current(out)
    (tmp_path / "board" / "forest.svg").unlink()
    assert not collection.is_current(out)


def test_what_is_not_told_apart_says_from_where_it_would_be_seen():
    made = board(strategy("sft", BETTER, "a"), strategy("rl", NEAR, "c"))
    row = next(row for row in made.rows if row["name"] == "rl")
    gap = row["difference"]
    error = (gap["high"] - gap["low"]) / 2 / 1.96
    assert made.tests == 3  # the pair, and both differences to the base
    assert gap["found_from"] == pytest.approx(100 * intervals.smallest_found(error, 99, 0.05 / 3))
    assert gap["p_holm"] == pytest.approx(gap["p"])
    text = render.board_markdown(made)
    assert f"| ≈ {tables.percent(gap, '+')} (detectable: {gap['found_from']:.1f}) |" in text
    assert "| ▲ +25.0 (" in text


def test_any_row_can_be_the_reference():
    made = board(strategy("sft", BETTER, "a"), ranking=Ranking("sft"))
    assert made.reference == "sft"
    assert "Δ vs sft" in render.board_markdown(made)
    base = next(row for row in made.rows if row["name"] == "base")
    assert base["difference"]["value"] == -0.25
    assert "verdict" not in base["difference"], "a reference model has no place among the strategies"


def test_rows_that_collapsed_or_lack_verdicts_stand_apart():
    unjudged = {name: Score(None) for name in ("strict", "lenient")}
    records = [record(f"t/test/{i:03d}", float(v)) for i, v in enumerate(BASE)]
    lost = Run("d" * 64, Columns.of([replace(records[0], scores=unjudged), *records[1:]]), seed=1)
    made = board(
        strategy("sft", BETTER, "a"),
        strategy("rl", BASE, "c", status="collapsed", why="loss | <NaN>"),
        Entry("kd", "strategy", (lost,)),
    )
    text = render.board_markdown(made)
    first, _, rest = text.partition("**Collapsed or incomplete**")
    assert "| rl |" not in first
    assert "| kd |" not in first
    assert "| rl | collapsed: loss \\| &lt;NaN&gt; |" in rest
    assert "| kd | 1 sample without verdict |" in rest


def test_names_are_only_text_wherever_they_stand(tmp_path):
    odd = "<img src=x onerror=alert(1)>|`x` **a** [l](u)\n# head"
    out, _ = published(tmp_path, strategy(odd, BETTER, "a"), strategy("rl", NEAR, "c"))
    text = out.read_text()
    assert "<img" not in text
    assert "\n# head" not in text
    assert "[l](u)" not in text
    assert "<img src=x" not in out.with_suffix(".html").read_text()
    rows = list(csv.DictReader(io.StringIO(out.with_suffix(".csv").read_text())))
    assert odd in {row["name"] for row in rows}
    for lines in text.split("\n\n"):
        bars = {line.replace("\\|", "").count("|") for line in lines.splitlines() if line.startswith("|")}
        assert len(bars) <= 1, lines


def test_the_page_of_runs_holds_their_replies_and_prompts(tmp_path):
    for name, values, digest in (("new", BETTER, "a"), ("old", BASE, "c")):
        folder = written(tmp_path / name, values, digest * 64, name, text=f"{name} says \\boxed{{1}}")
        (file,) = folder.glob("evals/*/records-1.jsonl")
        prompts = [json.dumps({"at": i, "hash": "", "text": f"question {i}"}) + "\n" for i in range(len(values))]
        file.with_name("prompts.jsonl").write_text("".join(prompts))
    out = tmp_path / "c.md"
    entries = existing_runs.read_runs([tmp_path / "new", tmp_path / "old"])
    facts = against_reference.compare_to_reference("c", entries, "old", [])
    files.write_board_files(
        out,
        facts,
        [entries],
        files.draw_pictures(facts, [entries], {}),
        against_reference.comparison_markdown,
        with_page=True,
    )
    text = out.with_suffix(".html").read_text()

    def block(name):
        packed = re.search(f'id="{name}">([^<]*)</script>', text)[1]
        return json.loads(zlib.decompress(base64.b64decode(packed)))

    assert block("items-0")["question"][7] == "question 7"
    assert block("replies-0-0")[3] == "new says \\boxed{1}"
    assert collection.is_current(out)


def test_hundreds_of_rows_are_a_table_and_no_picture(tmp_path):
    entries = [strategy(f"s{i}", BASE[i % 4 :] + BASE[: i % 4], "a") for i in range(70)]
    out, _ = published(tmp_path, *entries)
    assert json.loads(out.with_suffix(".json").read_text())["pictures"] == []
    assert len(list(csv.reader(io.StringIO(out.with_suffix(".csv").read_text())))) == 72
