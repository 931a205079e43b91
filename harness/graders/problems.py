"""Reads programming problems in the common formats into one form.

Known forms of a row (first match):

* HumanEval: `prompt` (source that ends in the open function), `entry_point`, `test` (defines `check(candidate)`).
* Stdin or calls: inputs and outputs in the forms of APPS and LiveCodeBench (`cases`). A function may be a method of
  `class Solution` too; `starter_code` is its open beginning.
* MBPP+: `test`, a program that uses the names that the reference `code` defines.
* MBPP: `test_list`, asserts that use such names; `test_setup_code` or `test_imports` run before them.
"""

from __future__ import annotations

import ast
import builtins
import json
import re
import symtable
import threading
import warnings
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

from harness.errors import DataError
from harness.graders.cases import BadCases, Cases, leetcode_imports, output_test, read_cases
from harness.graders.in_place import with_changed_arguments
from harness.graders.row_fields import row_id
from harness.protocols import CodeJob

DEFAULT_TIMEOUT_S = 5.0  # CPU seconds of one run


class BadProblem(DataError):
    """A row from which no gradable problem can be read."""


@dataclass(frozen=True)
class Problem:
    """One problem. `test` tests a program; if `stdio` is set, what it prints in each of these runs."""

    prompt: str  # the prompt; source code if `head` is given
    entry_point: str  # the function to write; "" if the whole program is run
    test: str = ""
    names: tuple[str, ...] = ()  # names that the test uses from the program, with or without `check(candidate)`
    stdio: tuple[tuple[str, str], ...] = ()  # standard input, expected output
    prelude: str = ""  # the prompt, if the test uses its definitions
    calls_check: bool = False  # whether the test defines `check(candidate)`, to be called with the entry point
    reference: str = ""  # a whole right program; "" if the row has none
    head: str = ""  # the prompt, closed to be a whole program, if a reply may continue at its end
    before: str = ""  # source that a whole program runs behind: the prompt's imports and helpers
    of_leetcode: bool = False  # whether `class Solution` may hold the entry point, and common imports are given

    def defined_in(self, source: str) -> str:
        """The entry point as a source defines it, "Solution.add" for a method; "" if it does not, by pattern alone."""
        name = re.escape(self.entry_point.partition(".")[0])
        if re.search(rf"^(?:(?:async\s+def|def|class)\s+{name}\b|{name}\s*=[^=])", source, re.MULTILINE):
            return self.entry_point
        in_class = self.of_leetcode and re.search(r"^class\s+Solution\b", source, re.MULTILINE)
        method = in_class and re.search(rf"^[ \t]+(?:async\s+def|def)\s+{name}\b", source, re.MULTILINE)
        return f"Solution.{self.entry_point}" if method else ""

    def jobs(self, program: str, timeout_s: float, copy_back: bool = False) -> list[CodeJob]:
        """The runs that must all pass for `program` to be right."""
        if self.stdio:
            return [
                CodeJob(program, "", f"EXPECTED = {expected!r}\n{self.test}", timeout_s=timeout_s, stdin=given)
                for given, expected in self.stdio
            ]
        entry_point = (self.defined_in(program) or self.entry_point) if self.calls_check else ""
        if self.of_leetcode:
            program = behind(leetcode_imports(program), program)
        return [CodeJob(program, entry_point, self.test, self.prelude, timeout_s, self.names, copy_back=copy_back)]


_FUTURE = re.compile(r"^from[ \t]+__future__[ \t]+import[ \t]+[\w, \t]+$\n?", re.MULTILINE)


def behind(before: str, code: str) -> str:
    """A program behind other source, except for what must come first."""
    if not before.strip():
        return code
    future = "".join(match[0].rstrip("\n") + "\n" for match in _FUTURE.finditer(code))
    return f"{future}{before}\n{_FUTURE.sub('', code) if future else code}"


def read_problem(row: Mapping[str, Any]) -> Problem:
    """The problem in a row. Raises `BadProblem`, which names what is missing."""
    name = str(row_id(row, ""))
    try:
        return _read(row)
    except (BadProblem, BadCases) as e:
        raise BadProblem(f"problem {name or '?'}: {e}") from e
    except (SyntaxError, ValueError, KeyError, TypeError) as e:
        raise BadProblem(f"problem {name or '?'} cannot be read: {type(e).__name__}: {e}") from e


def _read(row: Mapping[str, Any]) -> Problem:
    prompt = str(row.get("prompt") or row.get("text") or row.get("question") or "")
    entry_point = str(row.get("entry_point") or "").replace("()", "")  # "Solution().add" is "Solution.add"
    if entry_point and str(row.get("test") or "").strip():
        head = _closed(prompt)
        solution = str(row.get("canonical_solution") or _program_of(str(row.get("solution") or "")))
        reference = solution if not head or _defines(solution, entry_point.partition(".")[0]) else prompt + solution
        test = str(row["test"])
        offered = (_defined(head) | _imported(head) if head else set()) - {entry_point.partition(".")[0]}
        # `from math import *` may offer any name
        names = (entry_point,) if "*" in offered else _taken_names(test, "", offered)
        calls_check = "check" in _defined(test)
        if not calls_check and entry_point not in names:
            raise BadProblem(f"its test neither defines check(candidate) nor uses {entry_point!r}")
        return Problem(
            prompt,
            entry_point,
            with_changed_arguments(test, (entry_point, *names), _tree),
            tuple(n for n in names if n != entry_point) if calls_check else names,
            prelude=head if offered & {"*", *_global_names(_scopes(test))} or _has_classes(head) else "",
            calls_check=calls_check,
            reference=reference if solution else "",
            head=head,
            before=_before(head, entry_point),
        )
    cases = read_cases(row, entry_point)
    if cases is not None:
        return _of_cases(cases, str(row.get("question_content") or prompt), row)
    reference = str(row.get("code") or row.get("canonical_solution") or "").replace("\r\n", "\n")
    asserts = [str(a) for a in [*(row.get("test_list") or ()), *(row.get("challenge_test_list") or ())]]
    setup = [str(row.get("test_setup_code") or ""), *map(str, row.get("test_imports") or ())]
    test = str(row.get("test") or "") or "\n".join([*setup, *asserts])
    if not str(row.get("test") or "").strip() and not asserts:
        raise BadProblem("it has no tests: a row needs `test` and `entry_point`, `test_list`, or `input_output`")
    names = _taken_names(test, reference)
    if not names:
        raise BadProblem("its tests use no name that a program could define")
    test = with_changed_arguments("\n".join([_imports(reference), test]), names, _tree)
    return Problem(prompt, names[0], test, names, reference=reference)


def _of_cases(cases: Cases, statement: str, row: Mapping[str, Any]) -> Problem:
    if not cases.function:
        stdio = cases.stdio()
        return Problem(statement, "", output_test(stdio, statement), stdio=stdio)
    solutions = row.get("solutions") or ()
    solutions = json.loads(solutions) if isinstance(solutions, str) else solutions
    reference = str(row.get("canonical_solution") or row.get("code") or next(iter(solutions), ""))
    problem = Problem(
        statement,
        cases.function,
        cases.test_of_calls(statement),
        calls_check=True,
        reference=reference,
        of_leetcode=True,
    )
    for start in (str(row.get("starter_code") or ""), statement):
        defined, head = problem.defined_in(start), _closed(start)
        if defined and head:
            return replace(problem, prompt=f"{start.rstrip()}\n", head=head, before=_before(head, defined))
    return problem


_NAMED = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _before(head: str, entry_point: str) -> str:
    """The part of a prompt in front of the function or class to complete: its imports and helpers."""
    found = [n for n in (_tree(head).body if head else ()) if isinstance(n, _NAMED)]
    for node in found:
        if node.name == entry_point.partition(".")[0]:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            return "".join(head.splitlines(keepends=True)[: first - 1])
    return ""


_WARNINGS = threading.Lock()  # catch_warnings changes the state of all threads


def _tree(source: str) -> ast.Module:
    """The parsed source, without warnings about it (invalid escapes), which cannot be fixed here."""
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)


def _parses(source: str) -> bool:
    try:
        _tree(source)
    except (SyntaxError, ValueError):
        return False
    return bool(source.strip())


def _program_of(solution: str) -> str:
    """The program in a reference reply: the content of its fenced block, or all of it."""
    block = re.search(r"^```python\n(.*?)^```", solution, re.DOTALL | re.MULTILINE)
    return block[1] if block else solution


def _closed(prompt: str) -> str:
    """The prompt as a program: unchanged (a docstring is a body), or with a body added; "" if neither parses."""
    if _parses(prompt):
        return prompt
    last = prompt.rstrip().rpartition("\n")[2]
    indent = last[: len(last) - len(last.lstrip())]
    body = f"{prompt.rstrip()}\n{indent}    pass\n"
    return body if _parses(body) else ""


def _defines(source: str, name: str) -> bool:
    return name in _defined(source) if _parses(source) else False


def _defined(source: str) -> set[str]:
    """Names that a program binds at its top level."""
    found: set[str] = set()
    for node in _tree(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return found


def _taken_names(test: str, reference: str, known: Set[str] = frozenset()) -> tuple[str, ...]:
    """Names used by the tests that the program must define, in the order of use.

    If there is a reference, its names decide, since a program may have to define a name that is a builtin ("sum").
    """
    top = _scopes(test)
    own = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()} | known
    free = _global_names(top) - own
    used = [n.id for n in ast.walk(_tree(test)) if isinstance(n, ast.Name) and n.id in free]
    could = _defined(reference) if reference else {n for n in used if not hasattr(builtins, n)}
    if reference and not could.intersection(used):
        raise BadProblem("its tests use nothing that its reference solution defines")
    return tuple(dict.fromkeys(n for n in used if n in could))


def _scopes(source: str) -> symtable.SymbolTable:
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return symtable.symtable(source, "<test>", "exec")


def _imported(source: str) -> set[str]:
    """Names that a program imports at its top level; "*" for a star import."""
    imports = [node for node in _tree(source).body if isinstance(node, ast.Import | ast.ImportFrom)]
    return {(a.asname or a.name).partition(".")[0] for node in imports for a in node.names}


def _has_classes(prompt: str) -> bool:
    """Whether instances of the prompt's own classes may be passed between the program and its tests."""
    return any(isinstance(node, ast.ClassDef) for node in _tree(prompt).body)


def _global_names(table: symtable.SymbolTable) -> set[str]:
    """Names that a scope and those inside it look up among the globals."""
    module = table.get_type() == "module"
    names = {s.get_name() for s in table.get_symbols() if s.is_referenced() and (module or s.is_global())}
    return names.union(*map(_global_names, table.get_children()))


def _imports(reference: str) -> str:
    """The imports of the reference, which tests use too (MBPP/596 needs `sys`)."""
    if not reference:
        return ""
    return "\n".join(ast.unparse(n) for n in _tree(reference).body if isinstance(n, ast.Import | ast.ImportFrom))
