"""Runs that exist already, read back as entries of a board: run folders of this project, samples files of lm-eval."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from harness.atomic import write_json
from harness.board.entries import DevSelection, Entry, RecordFiles, Run
from harness.errors import DataError, UsageError
from harness.interop import lm_eval_samples, recorded_read
from harness.records.columns import Columns, Reader
from harness.records.serialization import cost_from_json
from harness.types import Record, RecordItem, RecordOrigin, Score

NAME = "entries.json"
SCHEMA = 2


def write_entries(folder: Path, entries: Iterable[Entry]) -> None:
    """Note in a run folder what its last comparison ranked, and where its records are."""
    values = [
        {
            "name": entry.name,
            "role": entry.role,
            "tried": entry.tried,
            "runs": list(map(_note, entry.runs)),
        }
        for entry in entries
    ]
    write_json(folder / NAME, {"schema": SCHEMA, "entries": values})


def _note(run: Run) -> dict[str, Any]:
    known = ("digest", "seed", "status", "why")
    return {
        **{name: getattr(run, name) for name in known},
        "cost": asdict(run.cost) if run.cost else None,
        **asdict(run.selection),
        "content": run.records.content,
        "files": run.records.files,
    }


def read_runs(paths: Sequence[Path]) -> list[Entry]:
    """The entries in these runs, in order.

    A path is a run folder of `harness compare` or `harness eval`, a folder with lm-eval's samples_*.jsonl, one such
    file, or a file of recorded generations with verdicts of its own (see `recorded_read`). Texts are left out. Raises
    `DataError` for anything else, and for two entries of one name.
    """
    entries: list[Entry] = []
    reader = Reader()
    for path in paths:
        if (path / NAME).is_file():
            found = _compared(path, reader)
        elif (path / "evals").is_dir():
            found = _evaluated(path, reader)
        elif path.is_file() and not path.name.startswith("samples_"):
            found = _recorded(path, reader)
        else:
            found = _lm_eval(path, reader)
        entries += [entry for entry in found if _is_new(entry, entries, path)]
    return entries


def choose_entries(entries: Sequence[Entry], name: str | None, seed: int | None) -> tuple[str, Run]:
    """One run of these entries, and what to call it. Raises `UsageError` if several fit."""
    names = [entry.name for entry in entries]
    if name is None and len(entries) > 1:
        raise UsageError(f"there are several entries; name one with --entry: {', '.join(names)}")
    entry = next((entry for entry in entries if name in (None, entry.name)), None)
    if entry is None:
        raise UsageError(f"--entry {name!r} is not an entry; there are: {', '.join(names)}")
    runs = [run for run in entry.runs if seed in (None, run.seed)]
    if len(runs) != 1:
        seeds = ", ".join(str(run.seed) for run in entry.runs)
        raise UsageError(f"{entry.name!r} has the seeds {seeds}; name one with --seed")
    if runs[0].status != "done":
        raise UsageError(
            f"{entry.name!r} {runs[0].status}: {runs[0].why}; a run that did not finish cannot be a candidate"
        )
    return entry.name if len(entry.runs) == 1 else f"{entry.name} seed {runs[0].seed}", runs[0]


def _is_new(entry: Entry, entries: Sequence[Entry], path: Path) -> bool:
    """False for a base or teacher that several runs share. Raises `DataError` for another entry of a known name."""
    same = next((other for other in entries if other.name == entry.name), None)
    if same is None:
        return True
    if entry.role in ("base", "teacher") and entry.runs[0].digest == same.runs[0].digest:
        return False
    raise DataError(
        f"{path}: {entry.name!r} is in an earlier run too, with other weights or records; evaluate it under a name of "
        "its own (harness eval --name), or compare the runs apart"
    )


def _compared(folder: Path, reader: Reader) -> list[Entry]:
    values = _json(folder / NAME)
    with _readable(folder / NAME):
        if values["schema"] != SCHEMA:
            raise DataError(
                f"{folder / NAME} has schema {values['schema']}, this version reads {SCHEMA}; run its "
                "`harness compare` again: what is trained stays"
            )
        return [
            Entry(
                entry["name"],
                entry["role"],
                tuple(_run(folder, run, reader) for run in entry["runs"]),
                None if entry["tried"] is None else tuple(entry["tried"]),
            )
            for entry in values["entries"]
        ]


def _run(folder: Path, values: Mapping[str, Any], reader: Reader) -> Run:
    files = tuple(values["files"])
    return Run(
        values["digest"],
        _columns(reader, folder, files),
        **{name: values[name] for name in ("seed", "status", "why")},
        cost=cost_from_json(values["cost"]) if values["cost"] else None,
        selection=DevSelection(**{field.name: values[field.name] for field in fields(DevSelection)}),
        records=RecordFiles(files, values["content"], str(folder)),
    )


def _evaluated(folder: Path, reader: Reader) -> list[Entry]:
    return [
        Entry(
            name,
            "model",
            (Run(digest, _columns(reader, folder, files), records=RecordFiles(tuple(files), home=str(folder))),),
        )
        for name, (digest, files) in _evaluated_files(folder).items()
    ]


def _evaluated_files(folder: Path) -> dict[str, tuple[str, list[str]]]:
    """For each model of an evaluation its weights digest and its records files, as paths from the run folder.

    A row of `harness eval` is in one result file for each list of tasks it was asked for.
    """
    found: dict[str, tuple[str, list[str]]] = {}
    for path in sorted((folder / "results").glob("*.json")):
        values = _json(path)
        try:
            row, new = values["board"]["rows"][0], values["records"]
            name, digest = row["name"], row["runs"][0]["digest"]
        except (KeyError, IndexError, TypeError) as error:
            raise DataError(
                f"{path} does not say where its records are ({type(error).__name__}: {error}); run `harness eval` "
                "again: nothing is generated anew"
            ) from None
        known, files = found.setdefault(name, (digest, []))
        if known != digest:
            raise DataError(f"{folder}: two checkpoints are called {name!r}; evaluate each with a --name of its own")
        files += [file for file in new if file not in files]
    if not found:
        raise DataError(f"{folder} holds no finished evaluation; run its command again to finish one")
    return found


def records_files(folder: Path) -> list[tuple[str, int | None, list[Path]]]:
    """(name of the row, training seed, its records files) of every run in a run folder of this project.

    Raises `DataError` if `folder` is not a run folder, or no evaluation in it is finished.
    """
    if (folder / NAME).is_file():
        with _readable(folder / NAME):
            entries = _json(folder / NAME)["entries"]
            runs = [(entry["name"], run["seed"], run["files"]) for entry in entries for run in entry["runs"]]
    elif (folder / "evals").is_dir():
        runs = [(name, None, files) for name, (_, files) in _evaluated_files(folder).items()]
    else:
        raise DataError(f"{folder} is not a run folder of `harness compare` or `harness eval`")
    return [(name, seed, [folder / file for file in files]) for name, seed, files in runs]


def _columns(reader: Reader, folder: Path, files: Sequence[str]) -> Columns:
    return reader.files([folder / file for file in files], str(folder))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn an entry that is not as `write_entries` writes it into a `DataError` that names the file."""
    try:
        yield
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} does not fit ({type(error).__name__}: {error}); run `compare` again") from None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); run its command again") from None


def _lm_eval(path: Path, reader: Reader) -> list[Entry]:
    files = lm_eval_samples.sample_files(path)
    if not files:
        raise DataError(
            f"{path} is not a run: expected a run folder of this project, a folder with lm-eval's "
            "samples_*.jsonl (lm_eval --log_samples), or such a file"
        )
    runs: dict[str, list[Record]] = defaultdict(list)
    for file in files:
        runs[file.model] += file.records()
    return [
        Entry(name, "model", (Run(records[0].origin.checkpoint, reader.records(records, str(path))),))
        for name, records in runs.items()
    ]


def _recorded(path: Path, reader: Reader) -> list[Entry]:
    """Recorded verdicts as they stand in their file; an entry for each model it contains replies of."""
    name = recorded_read.model_name(path)
    entries = []
    for column in recorded_read.columns(path) or [""]:
        file = recorded_read.read_generations(path, column)
        records = list(_as_recorded(file))
        if all(record.scores["strict"].value is None for record in records):
            raise DataError(
                f"{path} has no verdicts of its own; have its replies graded: harness eval --engine replay "
                f"--generations {path} --task NAME"
            )
        run = Run(file.digest, reader.records(records, str(path)))
        entries.append(Entry(f"{name} {column}".strip(), "model", (run,)))
    return entries


def _as_recorded(file: recorded_read.RecordedFile) -> Iterator[Record]:
    """A record a reply. What the file does not say is "unrecorded", and the same for all files of a shape."""
    seen: Counter[str] = Counter()
    for entry in file.entries:
        text = hashlib.sha256(f"{entry.text}\n{entry.test}".encode()).hexdigest()
        item = entry.name or (str(entry.number) if entry.number is not None else text[:16])
        for reply in entry.replies:
            value = None if reply.verdict is None else float(reply.verdict)
            score = Score(value, None if reply.answer is None and not reply.text else "")
            prompt_hash = hashlib.sha256(reply.prompt.encode()).hexdigest() if reply.prompt else ""
            yield Record(
                RecordItem("recorded", "unrecorded", item, text, cluster=entry.cluster),
                RecordOrigin(
                    file.digest,
                    engine="unrecorded",
                    sampling={"as recorded": file.shape},
                    grader_version=f"as recorded: {file.rule}",
                    sandbox="unrecorded",
                ),
                repeat=seen[item],
                reply=lm_eval_samples.without_text(reply.finish, prompt_hash),
                scores={"strict": score, "lenient": score},
            )
            seen[item] += 1
