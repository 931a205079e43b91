"""Facts of a board: typed values, JSON both ways, and one sentence for each."""

import json
from dataclasses import asdict, replace

import pytest
from factories import changed, every_fact, record

from harness.board import fact_sentences
from harness.board.facts import (
    BoardFacts,
    Decoding,
    EngineFacts,
    Note,
    TaskFacts,
    facts_from_json,
    note_from_json,
    shared_decoding,
)
from harness.engines.scripted import ScriptedEngine
from harness.errors import DataError
from harness.evaluation.job import job
from harness.evaluation.task_facts import task_facts
from harness.experiment.facts import n_differing
from harness.records.columns import Columns
from harness.records.test_set_log import EvaluationLog, LoggedEvaluation
from harness.registry import make_task
from harness.types import Sampling

SAID = {
    "base": "tiny|base bbbbbbbbbbbbbbbb",
    "teacher": "teacher dddddddddddddddd",
    "budget": "1e+12 flops",
    "train_items": "90 from mine.jsonl, the same for every strategy",
    "dropped": "10 of 100 (7 exact, 3 13-gram; dropped.jsonl lists them)",
    "traces": "one for each of the first 1,500 train items, 1,340 graded right, 2 of them dropped because they contain "
    "a held-out question",
    "dev_items": "t 10, u 5 taken from the end of the train split",
    "checkpoint": "the best on dev of 4 over its last stage, the latest of equals",
    "evaluations": "t 2 checkpoints",
    "tuning": "sft the best on dev of 2 or 3 trials each; rl not the best that was tried; kd without trials; "
    "sequences take over those of their parts; the trials were made with another base and other train items or another "
    "teacher and a budget of 1e+11 tokens and other dev items",
    "settings": "sft: learning_rate=0.001; rl: defaults",
    "trials": "sft: learning_rate=0.001 62.5 (used), learning_rate=0.1 (collapsed) 0.0",
    "items": "t: the first 50 of 1,319 test items, set 000000000000",
    "decoding": "t: temperature 0.6, at most 48 tokens, top-p 0.95, top-k 20, stop at '\\n', seed 3, as recorded: "
    "solutions, 4 replies an item",
    "engine": "vllm 0.32.0, dtype float32, device cpu, max_model_len 512",
    "graders": "t 1, grader number-1",
    "sandbox": "T1, none needed",
    "devices": "2",
    "deterministic": "in every stage",
    "versions": "trl 1.16.0",
    "runs": "runs/a, runs/b",
}


def test_every_fact_has_a_heading_and_a_sentence():
    assert fact_sentences.sentences(every_fact()) == SAID
    assert list(fact_sentences.HEADINGS) == list(SAID)
    assert fact_sentences.how_it_was_made(every_fact())[2] == ("budget of each strategy", "1e+12 flops")


def test_what_is_not_recorded_is_left_out():
    assert fact_sentences.sentences(BoardFacts()) == {}
    assert fact_sentences.sentences(BoardFacts({"t": TaskFacts()}, EngineFacts())) == {}
    assert fact_sentences.sentences(BoardFacts(engine=EngineFacts(label="vllm 1 float32"))) == {
        "engine": "vllm 1 float32"
    }
    assert fact_sentences.caption({}, BoardFacts()) == "Intervals are 95 %, each of one number alone."


def test_facts_and_notes_are_the_same_after_json():
    assert facts_from_json(json.loads(json.dumps(asdict(every_fact())))) == every_fact()
    note = Note("engine fallback", engine="transformers")
    assert note_from_json(json.loads(json.dumps(asdict(note)))) == note
    with pytest.raises(
        DataError, match=r"cannot be read: Expected `int \| null`, got `str` - at `\$.tasks\[...\].n_items`"
    ):
        facts_from_json({"tasks": {"t": {"n_items": "50 test items"}}})
    with pytest.raises(DataError, match="a note of the board cannot be read: Invalid enum value 'odd'"):
        note_from_json({"kind": "odd"})


@pytest.mark.parametrize(
    ("note", "said"),
    [
        (Note("limited", limit=7), "Only the first 7 items of each task were used (--limit): not a result to quote."),
        (Note("engine fallback", engine="x"), "vLLM could not be used on this machine; replies come from x."),
        (
            Note("replies do not repeat", differing=3, of=1430),
            "`noop`, which trains nothing, differs from the base in 3 of 1,430 replies: the same weights do not give",
        ),
        (Note("prompts not recorded"), "The prompts are not recorded: that they were the same rests on"),
    ],
)
def test_notes_are_values_with_a_kind(note, said):
    assert fact_sentences.note_text(note).startswith(said)


def test_a_task_records_its_split_its_limit_and_how_replies_were_drawn(tmp_path):
    engine, log = ScriptedEngine({}).describe(), EvaluationLog(tmp_path / "run")
    part = job(make_task("pico_math"), "test", 7, Sampling(3, temperature=0.5, seed=4))
    log.add([LoggedEvaluation(part.items_hash, "d", "pico_math", "me")])
    found = task_facts(part, log, engine)
    assert (found.split, found.n_items, found.n_of_split, found.limit, found.repeats) == ("test", 7, 250, 7, 3)
    assert (found.decoding.temperature, found.decoding.seed, found.n_evaluated) == (0.5, 4, 1)
    assert found.grader.startswith("pico_math ")
    others = replace(part, samples=part.samples[1:])  # not the first ones: no limit, although fewer
    assert task_facts(others, log, engine).limit is None
    assert task_facts(job(part.task, "dev"), log, engine).limit is None
    elsewhere = replace(engine, sampling={"as recorded": "solutions"})
    assert task_facts(part, log, elsewhere).decoding == Decoding(other={"as recorded": "solutions"})


def test_replies_differ_in_a_verdict_or_in_length():
    replies = [record(f"t/test/{i}", value) for i, value in enumerate((1, 0, None, 1))]
    again = [replies[0], record("t/test/1", 1), replies[2], changed(replies[3], n_tokens=replies[3].reply.n_tokens + 1)]
    assert n_differing(Columns.of(replies), Columns.of(replies)) == 0
    assert n_differing(Columns.of(replies), Columns.of(again)) == 2


def test_settings_that_differ_between_replies_are_not_recorded_as_one():
    drawn = [Decoding.of_record({"max_tokens": n, "temperature": 0.0, "do_sample": False}) for n in (8, 9)]
    assert shared_decoding(drawn) == Decoding(temperature=0.0, other={"do_sample": False})
    assert shared_decoding([]) is None
