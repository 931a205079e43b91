"""Imports point one way, folder by folder, and looking around is cheap."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"harness": "harness", "harness_plugins": "plugins", "harness_tasks": "tasks"}
# The table of harness/README.md, read first on top. A folder imports from itself and from folders above it.
FOLDERS = (
    "",  # the modules beside the folders
    "statistics",
    "rendering",
    "records",
    "sandbox",
    "graders",
    "engines",
    "interop",
    "training",
    "testing",
    "board",
    "evaluation",
    "experiment",
    "gate",
    "publish",
    "cli",
)
PARALLEL = {frozenset({"gate", "publish"})}  # stand side by side: neither imports the other
MODULES = {"types", "errors", "protocols", "registry", "meter", "checkpoints", "processes"} | {
    "atomic"
}  # beside the folders
PUBLIC = {"harness", "harness.__main__"}  # lazy names (`harness.grade`), and the command, may come from anywhere
STANDARD = {
    *("harness.types", "harness.errors", "harness.protocols", "harness.registry", "harness.meter", "harness.processes"),
    "harness.atomic",
    *("harness.records.serialization", "harness.records.store", "harness.training.strategies"),
    *("harness.graders.number", "harness.graders.math", "harness.graders.math_equal", "harness.graders.math_extract"),
    *("harness.graders.math_compare", "harness.graders.math_parser", "harness.graders.reasoning"),
}


def sources():
    """{dotted name: file} of every module that is installed."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            found[".".join((package, *parts))] = path
    return found


SOURCES = sources()


def imports(name):
    """Dotted names a module imports, anywhere in it; `from package import module` names the module."""
    path = SOURCES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in SOURCES else base


def folder(name):
    """The folder of `harness` a module lies in; "" for the modules beside the folders."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in FOLDERS else ""


HARNESS = [name for name in SOURCES if name.split(".")[0] == "harness"]


@pytest.mark.parametrize("name", [name for name in HARNESS if name not in PUBLIC])
def test_a_module_imports_from_its_own_folder_or_one_above_it_in_the_table(name):
    own = folder(name)
    for imported in imports(name):
        root = imported.split(".")[0]
        assert root not in ("harness_plugins", "harness_tasks") or own == "cli", f"{name} imports {imported}"
        if root == "harness":
            other = folder(imported)
            assert FOLDERS.index(other) <= FOLDERS.index(own), f"{name} imports {imported}, which stands below it"
            assert frozenset({own, other}) not in PARALLEL, f"{name} imports {imported}, which stands beside it"


def test_every_folder_and_module_has_its_place_in_the_table():
    folders = {path.parent.name for path in (ROOT / "harness").glob("*/__init__.py")}
    assert folders == set(FOLDERS) - {""}
    beside = {path.stem for path in (ROOT / "harness").glob("*.py")} - {"__init__", "__main__"}
    assert beside == MODULES
    assert len(beside) <= 8


def test_the_table_of_the_package_readme_lists_the_folders_in_this_order():
    lines = (ROOT / "harness" / "README.md").read_text(encoding="utf-8").splitlines()
    listed = [line.split("|")[1].strip() for line in lines if line.startswith(("| `", "| (this one)"))]
    assert listed == ["(this one)", *[f"`{name}/`" for name in FOLDERS[1:]]]


def test_no_modules_import_each_other_in_a_circle():
    graph = {name: {i for i in imports(name) if i in SOURCES and i != name} for name in SOURCES if name not in PUBLIC}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("name", sorted(STANDARD))
def test_values_and_look_up_need_the_standard_library_alone(name):
    for imported in imports(name):
        root = imported.split(".")[0]
        assert root in sys.stdlib_module_names or root == "harness", f"{name} imports {imported}"


@pytest.mark.parametrize("package", ["harness_plugins", "harness_tasks"])
def test_plugins_and_tasks_use_what_a_stranger_may_use(package):
    """Each other never; of `harness` the values, the contracts and what judges, but nothing that runs experiments."""
    allowed = {
        "harness_plugins": {"", "training"},  # the forecast of a step's memory
        "harness_tasks": {"", "graders", "records", "training"},
    }[package]
    for name in SOURCES:
        if name.split(".")[0] != package:
            continue
        for imported in imports(name):
            root = imported.split(".")[0]
            assert root == package or not root.startswith("harness_"), f"{name} imports {imported}"
            assert root != "harness" or folder(imported) in allowed, f"{name} imports {imported}"


BENCHMARKS = sorted((ROOT / "tests" / "bench").glob("*.py"))


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_benchmarks_import_what_exists(path):
    """Also in the programs they hold as text: nothing else runs them in CI."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    found = [(node.module or "", alias.name) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
             for alias in node.names]  # fmt: skip
    for text in texts:
        for module, names in re.findall(r"^\s*from (harness[\w.]*) import ([\w, ]+)", text, re.M):
            found += [(module, name.strip()) for name in names.split(",")]
    for module, name in found:
        if module.split(".")[0] == "harness":
            exists = f"{module}.{name}" in SOURCES or hasattr(import_module(module), name)
            assert exists, f"{path.name} imports {name} from {module}"


def _cpu_seconds(command: list[str]) -> float:
    """CPU seconds of one run: user and system."""
    code = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_utime + used.ru_stime)"
    )
    run = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
    return float(run.stdout)


def test_help_and_import_cost_little_more_cpu_than_click_alone():
    """As a ratio to a program that imports click, in turns: what a second is worth differs by machine and load."""
    commands = {
        "click": [sys.executable, "-c", "import click"],
        "help": [str(Path(sys.executable).parent / "harness"), "--help"],
        "import": [sys.executable, "-c", "import harness"],
    }
    rounds = [{name: _cpu_seconds(command) for name, command in commands.items()} for _ in range(7)]
    quickest = {name: min(times[name] for times in rounds) for name in commands}
    assert quickest["help"] < 2 * quickest["click"], quickest
    assert quickest["import"] < quickest["click"], quickest


def test_looking_around_imports_no_torch():
    code = (
        "import sys, harness, harness.registry as r, harness.cli.main\n"
        "[r.names(kind) for kind in r.KINDS]\n"
        "[r.load(kind, name) for kind in ('trainer', 'engine') for name in r.names(kind)]\n"
        "[r.make_task(name) for name in r.names('task')]\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
