"""Imports point one way, and looking around is cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = [
    {"types", "errors", "thoughts"},
    {
        "protocols",
        "budget",
        "child",
        "stats",
        "sequential",
        "tables",
        "drawing",
        "claims",
        "k_metrics",
        "literal_grader",
        "records",
        "decontaminate",
        "math_grader",
        "math_extract",
        "math_forms",
        "math_second",
        "code_grader",
        "problems",
        "strategies",
        "registry",
    },
    {
        "checkpoints",
        "columns",
        "hub",
        "storage",
        "machine",
        "looks",
        "curves",
        "pictures",
        "inspect_log",
        "generations",
        "rows",
        "stock_data",
        "stock_names",
        "trials",
    },
    {"math_worker"},
    {"math_equal"},
    {"answer_grader"},
    {"store"},
    {"graders"},
    {"sandbox", "engines", "train", "stage", "evaluate", "stock", "lm_eval_files"},
    {"grading", "benchmarks", "recipes", "export", "material", "selection"},
    {
        "leaderboard",
        "compare",
        "tuning",
        "outline",
        "single",
        "reported",
        "page",
        "transcripts",
        "bundle",
        "publish",
        "gate",
        "runs",
        "pairwise",
        "collection",
        "doctor",
        "rewards",
    },
    {"progress", "cli_options", "cli_leaderboard", "cli_gate", "cli"},
]
STANDARD = {
    *("types", "protocols", "errors", "budget", "records", "strategies", "registry"),
    *(
        "math_grader",
        "math_extract",
        "math_forms",
        "math_second",
        "math_equal",
        "answer_grader",
        "thoughts",
        "child",
        "store",
    ),
}


def imports(path):
    """Modules a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ([f"harness.{n.name}" for n in node.names] if node.module == "harness" else [node.module])


def modules():
    for path in sorted((ROOT / "harness").rglob("*.py")):
        name = path.relative_to(ROOT / "harness").parts[0].removesuffix(".py")
        if name != "__init__":
            yield name, path


def rank(name):
    return next(i for i, layer in enumerate(LAYERS) if name in layer)


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda v: v if isinstance(v, str) else v.name)
def test_a_module_imports_only_from_its_own_layer_or_one_above_it_in_the_table(name, path):
    for imported in imports(path):
        root, _, rest = imported.partition(".")
        assert root not in ("harness_plugins", "harness_tasks") or name == "cli", f"{path.name} imports {imported}"
        below = rest.split(".")[0]
        if root == "harness" and below and below != "__version__":
            assert rank(below) <= rank(name), f"{name} imports {below}, which stands below it"


@pytest.mark.parametrize("name", sorted(STANDARD))
def test_values_and_look_up_need_the_standard_library_alone(name):
    for imported in imports(ROOT / "harness" / f"{name}.py"):
        root = imported.split(".")[0]
        assert root in sys.stdlib_module_names or root == "harness", f"{name} imports {imported}"


@pytest.mark.parametrize("folder", ["plugins", "tasks"])
def test_plugins_and_tasks_do_not_import_each_other(folder):
    for path in (ROOT / folder).rglob("*.py"):
        roots = {name.split(".")[0] for name in imports(path)}
        assert not roots & {"harness_plugins", "harness_tasks", "plugins", "tasks"}, path


def _cpu_seconds(*command):
    """CPU seconds of the quickest of five runs: user and system, children included."""
    code = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_utime + used.ru_stime)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
        for _ in range(5)
    ]
    return min(float(run.stdout) for run in runs)


def test_help_and_import_cost_less_than_a_fifth_of_a_second_of_cpu():
    harness = str(Path(sys.executable).parent / "harness")
    assert _cpu_seconds(harness, "--help") < 0.2
    assert _cpu_seconds(sys.executable, "-c", "import harness") < 0.2


def test_looking_around_imports_no_torch():
    code = (
        "import sys, harness, harness.registry as r, harness.cli\n"
        "[r.names(kind) for kind in r.KINDS]\n"
        "[r.load('trainer', name) for name in r.names('trainer')]\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
