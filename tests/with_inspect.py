"""Run by the real Inspect in its own environment, never imported here: what it makes of a log, as JSON on stdout.

python with_inspect.py read LOG      what its readers and data frames say, and whether they understand every key
python with_inspect.py write FOLDER  an evaluation of its own with a mock model; prints the path of its log
python with_inspect.py json LOG OUT  the same log in the other format
"""

import json
import math
import sys
import zipfile
from pathlib import Path
from urllib.parse import unquote, urlparse

FREE = {"metadata", "model_args", "packages", "attachments", "store", "params", "options"}  # any key may stand here


def read(path):
    from inspect_ai.analysis import evals_df, samples_df
    from inspect_ai.log import list_eval_logs, read_eval_log, read_eval_log_sample_summaries, recompute_metrics
    from inspect_ai.scorer import value_to_float

    log = read_eval_log(path)
    written = scores(log)
    recompute_metrics(log)
    number = value_to_float()
    evals, samples = evals_df(path), samples_df(path)
    return {
        "listed": [Path(unquote(urlparse(info.name).path)).name for info in list_eval_logs(str(Path(path).parent))],
        "version": log.version,
        "status": log.status,
        "task": log.eval.task,
        "model": log.eval.model,
        "tags": log.eval.tags,
        "metadata": log.eval.metadata,
        "epochs": log.eval.config.epochs,
        "written": written,
        "recomputed": scores(log),
        "usage": {k: v.model_dump(exclude_none=True) for k, v in log.stats.model_usage.items()},
        "samples": [
            {
                "id": s.id,
                "epoch": s.epoch,
                "messages": [[m.role, m.text] for m in s.messages],
                "input": s.input if isinstance(s.input, str) else [[m.role, m.text] for m in s.input],
                "target": s.target,
                "reply": s.output.completion,
                "stop": s.output.stop_reason if s.output.choices else None,
                "values": {k: None if unscored(v) else number(v.value) for k, v in s.scores.items()},
                "answers": {k: v.answer for k, v in s.scores.items()},
                "tokens": s.output.usage.output_tokens,
                "error": s.error.message if s.error else None,
            }
            for s in log.samples
        ],
        "summaries": [[s.id, s.epoch, s.completed] for s in read_eval_log_sample_summaries(path)],
        "evals_df": json.loads(evals.to_json(orient="records"))[0],
        "samples_df": len(samples),
        "lost": lost_keys(path),
    }


def unscored(score):
    return isinstance(score.value, float) and math.isnan(score.value)


def scores(log):
    return {
        s.name: {k: m.value for k, m in s.metrics.items()} | {"n": s.scored_samples, "unscored": s.unscored_samples}
        for s in log.results.scores
    }


def lost_keys(path):
    """Keys in the file that Inspect's types have no place for: it would drop them without a word."""
    from inspect_ai._util.constants import get_deserializing_context
    from inspect_ai.log import EvalLog, EvalSample
    from inspect_ai.log._log import EvalSampleSummary

    def model(kind, value):
        value = json.loads(json.dumps(value))  # reading fills in what older logs lack
        read = kind.model_validate(value, context=get_deserializing_context())
        return read.model_dump(exclude_unset=True)

    lost = []
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            value = json.loads(archive.read(name))
            if name.startswith("samples/"):
                compare(value, model(EvalSample, value), name, lost)
            elif name == "summaries.json":
                for one in value:
                    compare(one, model(EvalSampleSummary, one), name, lost)
            else:
                compare(value, model(EvalLog, value), name, lost)
    return lost


def compare(ours, theirs, where, lost):
    if isinstance(ours, dict):
        for key, value in ours.items():
            if not isinstance(theirs, dict) or key not in theirs:
                lost.append(f"{where}.{key}")
            elif key not in FREE:
                compare(value, theirs[key], f"{where}.{key}", lost)
    elif isinstance(ours, list) and isinstance(theirs, list):
        for one, other in zip(ours, theirs, strict=True):
            compare(one, other, where, lost)


def write(folder):
    from inspect_ai import Task, eval
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ModelOutput, ModelUsage, get_model
    from inspect_ai.scorer import includes, match

    replies = {"Ann": "So there are 24", "Bo": "18 miles"}

    def answer(messages, *_):
        text = next((reply for name, reply in replies.items() if name in messages[-1].text), "?")
        output = ModelOutput.from_content("mockllm/model", text)
        output.usage = ModelUsage(input_tokens=3, output_tokens=4, total_tokens=7)
        return output

    items = [
        Sample(id="gsm8k/test/0000", input="Ann has 2 boxes of 12 eggs. How many?", target="24"),
        Sample(input="Bo runs 3 miles a day. How many in a week?", target="21"),
    ]
    task = Task(dataset=items, scorer=[match(numeric=True), includes()], name="two")
    log = eval(task, model=get_model("mockllm/model", custom_outputs=answer), epochs=2, log_dir=folder, display="none")
    assert log[0].status == "success", log[0].error
    return log[0].location


def convert(path, out):
    from inspect_ai.log import read_eval_log, write_eval_log

    write_eval_log(read_eval_log(path), out)
    return out


if __name__ == "__main__":
    print(json.dumps({"read": read, "write": write, "json": convert}[sys.argv[1]](*sys.argv[2:])))
