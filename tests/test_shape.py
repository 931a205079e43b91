"""Small signatures and small values: at most six parameters a function, at most twelve fields a caller must fill."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
MOST_PARAMETERS, MOST_FIELDS = 6, 12


def trees():
    """(name of the file, its syntax tree) of all shipped Python files."""
    for folder in ("harness", "plugins", "tasks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def parameters(function):
    """Number of parameters but self and cls."""
    named = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return len([a for a in named if a.arg not in ("self", "cls")])


def is_command(function):
    """Whether click makes a command of the function, and so calls it with a parameter for each option."""
    return any("command(" in ast.unparse(each) for each in function.decorator_list)


def required(value):
    """Number of fields without a default of a dataclass; 0 for another class."""
    if not any("dataclass" in ast.unparse(each) for each in value.decorator_list):
        return 0
    fields = [each for each in value.body if isinstance(each, ast.AnnAssign)]
    return len([each for each in fields if each.value is None and "ClassVar" not in ast.unparse(each.annotation)])


def found(kind, size, most):
    return {
        f"{name}:{node.name}" for name, tree in trees() for node in ast.walk(tree)
        if isinstance(node, kind) and size(node) > most
    }  # fmt: skip


def test_a_function_has_at_most_six_parameters():
    size = lambda node: 0 if is_command(node) else parameters(node)  # noqa: E731
    assert not found((ast.FunctionDef, ast.AsyncFunctionDef), size, MOST_PARAMETERS)


def test_a_dataclass_has_at_most_twelve_fields_to_fill():
    assert not found(ast.ClassDef, required, MOST_FIELDS)
