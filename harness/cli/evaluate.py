"""`harness eval` and `harness grade`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from harness.cli.options import ENGINE_ARG, READING, engine_name, split_commas, with_options

if TYPE_CHECKING:
    from harness.evaluation.eval_models import EvalRequest
    from harness.types import Reading


@dataclass(frozen=True)
class ReplyOptions:
    """The options that say whose replies to which items are scored. None and "": not given."""

    model: str
    tokenizer: str
    task: str
    engine: str
    engine_options: tuple[tuple[str, str], ...]
    generations: Path | None
    field: str
    split: Literal["dev", "test"]
    limit: int | None


@dataclass(frozen=True)
class SamplingOptions:
    """The options that say how replies are drawn, and the metrics over several of them. None: as the task sets it."""

    repeats: int
    temperature: float | None
    top_p: float | None
    top_k: int | None
    max_tokens: int | None
    seed: int
    metrics: str
    chat: bool | None
    num_fewshot: int | None


@dataclass(frozen=True)
class ResultOptions:
    """The options that say where results go, and what is reported in spite of a warning."""

    name: str | None
    folder: Path | None
    allow_weak_sandbox: bool
    allow_errors: bool


_OF_REPLIES = (
    click.option(
        "--model",
        default="",
        help="A model, or several comma-separated: a folder, a LoRA adapter, a pattern of folders, or a Hugging Face "
        "name.",
    ),
    click.option("--tokenizer", default="", metavar="MODEL", help="Take the tokenizer from here.  [the model's own]"),
    click.option("--task", "task", required=True, help="Task, or several, comma-separated."),
    click.option(
        "--engine", default="auto", show_default=True, help="vllm, transformers, openai (a server), replay, or auto."
    ),
    ENGINE_ARG,
    click.option(
        "--generations", type=click.Path(dir_okay=False, path_type=Path), help="Recorded replies, for --engine replay."
    ),
    click.option(
        "--field", default="", help="The model whose replies to read, if a row of the file has replies of several."
    ),
    click.option("--split", type=click.Choice(["dev", "test"]), default="test", show_default=True),
    click.option("--limit", type=click.IntRange(min=1), help="Evaluate only the first N items of each task."),
)
_OF_SAMPLING = (
    click.option(
        "--samples", "repeats", type=click.IntRange(min=1), default=1, show_default=True, help="Replies per item."
    ),
    click.option("--temperature", type=click.FloatRange(min=0.0), help="0 is greedy [default: greedy]."),
    click.option("--top-p", type=click.FloatRange(min=0.0, max=1.0, min_open=True), help="[default: 1]"),
    click.option("--top-k", type=click.IntRange(min=1), help="[default: all tokens]"),
    click.option("--max-tokens", type=click.IntRange(min=1), help="Token limit of a reply [default: the task's]."),
    click.option(
        "--seed", type=int, default=0, show_default=True, help="Seed of the first sample; each further sample adds 1."
    ),
    click.option(
        "--metrics", default="", metavar="LIST", help="Metrics over the --samples: pass@8, avg@8, maj@8, pass^8, ..."
    ),
    click.option(
        "--apply-chat-template/--no-apply-chat-template",
        "chat",
        default=None,
        help="[default: on for our tasks, off for lm_eval/...]",
    ),
    click.option("--num-fewshot", type=click.IntRange(min=0), help="For lm_eval/... tasks [default: the task's]."),
)
_OF_RESULTS = (
    click.option("--name", help="Name of the row (default: the model's folder or the file)."),
    click.option(
        "--run", "folder", type=click.Path(file_okay=False, path_type=Path), help="Run folder [default: runs/eval]."
    ),
    click.option("--allow-weak-sandbox", is_flag=True, help="Grade code even without strong isolation."),
    click.option("--allow-errors", is_flag=True, help="Report even if some replies failed; the score leaves them out."),
)


@click.command()
@with_options(_OF_REPLIES, ReplyOptions)
@with_options(_OF_SAMPLING, SamplingOptions)
@with_options(_OF_RESULTS, ResultOptions)
@click.option(
    "--dry-run", is_flag=True, help="Print the number of requests and an estimate of their tokens, then stop."
)
def eval(of_replies: ReplyOptions, of_sampling: SamplingOptions, of_results: ResultOptions, /, dry_run: bool) -> None:
    """Evaluate models, or score the recorded replies of one.

    \b
    Examples:
      harness eval --model runs/pico/stages/rl-0123/work/final --task pico_math,pico_code
      harness eval --model Qwen/Qwen2.5-0.5B-Instruct --task paper
      harness eval --model 'out/checkpoint-*' --task gsm8k      (one engine, weights swapped and proven)
      harness eval --model DIR --task math500 --samples 8 --temperature 0.6 --metrics pass@8,maj@8
      harness eval --model Qwen/Qwen2.5-0.5B --task lm_eval/gsm8k_cot,lm_eval/arc_easy
      harness eval --model my-model --engine openai --engine-arg base_url=http://localhost:8000/v1 --task gsm8k
      harness eval --engine replay --generations samples.jsonl --task humaneval

    A task is one of `harness tasks list`, a suite of them, or any task of lm-eval as lm_eval/NAME, with lm-eval's
    prompts and metrics beside ours. The same command continues an interrupted evaluation.
    """
    from harness.board.render import summary_markdown
    from harness.cli.progress import ShellProgress
    from harness.evaluation import eval_models, task_lookup

    asked = _request(of_replies, of_sampling, of_results)
    if dry_run:
        click.echo("\n".join(eval_models.outline(asked)))
        return
    steps = len(task_lookup.expand(asked.tasks, asked.split)) * max(1, len(asked.replies.models))
    progress = ShellProgress(float(steps))
    try:
        result = eval_models.run(asked, progress)
    finally:
        progress.close()
    click.echo(summary_markdown(result.board))
    for line in result.more:
        click.echo(line)
    home = asked.output.folder
    click.echo(f"\nfacts: {', '.join(map(str, result.paths))}; records: {home / 'evals'}")
    click.echo(f"for lm-eval's readers: {home / 'lm_eval'}; for `inspect view --log-dir`: {home / 'logs'}")


def _request(of_replies: ReplyOptions, of_sampling: SamplingOptions, of_results: ResultOptions) -> EvalRequest:
    """What the options ask for."""
    from harness.engines.model_folder import expand_models
    from harness.evaluation import eval_models
    from harness.statistics import k_metrics

    model, drawn = of_replies.model, of_sampling
    return eval_models.EvalRequest(
        tasks=tuple(split_commas(of_replies.task)),
        replies=eval_models.ModelChoice(
            models=tuple(split_commas(model) if of_replies.engine == "openai" else expand_models(model)),
            engine=engine_name(of_replies.engine),
            engine_options=of_replies.engine_options,
            generations=of_replies.generations,
            field=of_replies.field,
            name=of_results.name or "",
            tokenizer=of_replies.tokenizer,
        ),
        output=eval_models.Output(
            folder=of_results.folder or Path("runs") / "eval",
            metrics=tuple(k_metrics.parse_metric(text) for text in split_commas(drawn.metrics)),
            allow_errors=of_results.allow_errors,
        ),
        sampling=eval_models.SamplingChoice(
            repeats=drawn.repeats,
            temperature=drawn.temperature,
            top_p=drawn.top_p,
            top_k=drawn.top_k,
            max_tokens=drawn.max_tokens,
            seed=drawn.seed,
            chat=drawn.chat,
            num_fewshot=drawn.num_fewshot,
        ),
        split=of_replies.split,
        limit=of_replies.limit,
        allow_weak_sandbox=of_results.allow_weak_sandbox,
    )


@click.command()
@click.option(
    "--generations",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Samples, one JSON object per line: task_id (or question_id, problem_id, id) and completion (or response, "
    "output, text).",
)
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Results, one line per sample."
)
@click.option("--task", help="Grade with the items of an installed task.")
@click.option(
    "--problems",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Grade with your own problems, in HumanEval, MBPP or stdin/stdout form (.jsonl, .jsonl.gz, .json).",
)
@click.option(
    "--grader",
    type=click.Choice(["code", "math"]),
    default="code",
    show_default=True,
    help="math: each row has its own `target` and `response`.",
)
@click.option(
    "--reading",
    type=READING,
    help="Which score decides `passed`: strict reads the reply as it is, lenient finds the code or answer anywhere "
    "[default: strict for code, lenient for math].",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    default=5.0,
    show_default=True,
    help="Time limit of a program, in seconds.",
)
@click.option("--allow-weak-sandbox", is_flag=True, help="Grade code even without strong isolation.")
def grade(
    generations: Path,
    out: Path,
    task: str | None,
    problems: Path | None,
    grader: Literal["code", "math"],
    reading: Reading | None,
    timeout: float,
    allow_weak_sandbox: bool,
) -> None:
    """Grade generations from anywhere, one result row per sample.

    \b
    Examples:
      harness grade --task humaneval --generations samples.jsonl --out results.jsonl
      harness grade --problems mbpp.jsonl --generations samples.jsonl --out results.jsonl
      harness grade --grader math --generations answers.jsonl --out results.jsonl

    Verdicts: passed, failed, timeout, memory, error (the program did not load, raised, or gave no answer), refused
    (could not be graded: unknown problem, no tests, invalid JSON). The exit code is 0 only if nothing was refused. The
    same command continues an interrupted one.
    """
    from tqdm import tqdm

    from harness import registry
    from harness.errors import UsageError
    from harness.evaluation import grade_rows

    if (task is not None) + (problems is not None) + (grader == "math") != 1:
        raise UsageError("give one of --task NAME, --problems FILE, --grader math")
    by = grade_rows.GradedBy(
        problems=grade_rows.read_problems(problems) if problems else None,
        task=registry.make_task(task) if task else None,
        grader=grader,
    )
    settings = grade_rows.GradeSettings(reading, timeout)
    tally = grade_rows.Tally()
    with tqdm(desc="graded", unit=" samples", disable=not sys.stderr.isatty()) as bar:

        def count(row: Any) -> None:
            tally.add(row)
            bar.update()

        grade_rows.grade_file(generations, out, by, settings, allow_weak_sandbox, count)
    click.echo("\n".join(tally.lines()))
    click.echo(f"results: {out}")
    refused = tally.verdicts["refused"]
    if refused or not tally.n:
        what = f"{refused} of {tally.n} samples were not graded" if tally.n else "no sample to grade"
        click.echo(what, err=True)
        sys.exit(1)
