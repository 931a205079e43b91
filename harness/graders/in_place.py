"""Rewrites tests that look at what a program did to its arguments, so that they see it.

A program works on copies of its arguments, since with the tests' own values it could change what it is compared with.
A test that discards what a call returns can only mean the arguments:

    xs = [3, 1, 2]
    candidate(xs)
    assert xs == [1, 2, 3]

Here the changed copy is the answer. The call becomes `[__result__, xs] = __after__(candidate, xs)`: `xs` means the
changed copy from there on, and no value of the test is changed, so that other names for it (a list of cases, an
expected value) keep what the test put there. To be sure that the answer is never compared with itself, this is done
only if

* every use of the program in the test is such a call, or `assert candidate(xs) is None`;
* the name was bound in the block of the call before it, or by the loop or function that has this block;
* from the call on, until it is bound again, the name is only handed to the program again, returned, or asserted about:
  once in what is asserted, and on one side of a comparison.

Any other test stays as it is.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

AFTER = "__after__"  # the driver defines it: [what the call returned, *its arguments as the program left them]
_RESULT, _IGNORED = "__result__", "__ignored__"
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_UNTRACKED = (ast.ClassDef, ast.Lambda, ast.Global, ast.Nonlocal, ast.NamedExpr, ast.Await)  # may use names unseen


class _OtherTest(Exception):
    """The test is not of this kind."""


@dataclass(frozen=True)
class _Call:
    """A statement that calls the program and discards what it returns. changes: the names that it binds anew."""

    statement: ast.stmt
    call: ast.Call
    changes: frozenset[str]

    @property
    def arguments(self) -> list[ast.expr]:
        return [*self.call.args, *(keyword.value for keyword in self.call.keywords)]


def with_changed_arguments(test: str, names: Sequence[str], parse: Callable[[str], ast.Module]) -> str:
    """The test, rewritten if it looks at arguments. names: of the program, in the test."""
    parameter = re.search(r"^def check\((\w+)", test, re.MULTILINE)
    program = {*names, *([parameter[1]] if parameter else [])} - {""}
    called = "|".join(map(re.escape, program))
    statement = rf"(?:^|[:;])[ \t]*(?:(?:{called})\(|assert[ \t]+(?:{called})\([^\n]*[ \t](?:is|==)[ \t]+None)"
    if not program or not re.search(statement, test, re.MULTILINE):
        return test
    try:
        calls = _calls(parse(test), program)
    except _OtherTest:
        return test
    return _rewritten(test, calls)


def _calls(tree: ast.Module, program: set[str]) -> list[_Call]:
    """The calls of the program in a test of this kind."""
    if any(isinstance(node, _UNTRACKED) for node in ast.walk(tree)):
        raise _OtherTest
    found: list[_Call] = []
    for scope in ast.walk(tree):
        if isinstance(scope, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef):
            found += _calls_of_scope(scope, program)
    final = {id(s.value.args[0]) for s in tree.body if isinstance(s, ast.Expr) and _is_check(s.value)}  # type: ignore[attr-defined]
    uses = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id in program and id(n) not in final]
    if len(uses) != len(found):
        raise _OtherTest  # the program is used in another way
    return found


def _is_check(value: ast.expr) -> bool:
    """Whether an expression is `check(add)`, as some tests end."""
    return isinstance(value, ast.Call) and ast.unparse(value.func) == "check" and len(value.args) == 1


def _calls_of_scope(scope: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef, program: set[str]) -> list[_Call]:
    found: list[_Call] = []
    unchanged: set[int] = set()  # names that are read while they mean what the test put there
    for block, bound in _blocks(scope, {a.arg for a in scope.args.args} if isinstance(scope, _FUNCTIONS) else set()):
        calls, read = _calls_of_block(block, bound, program)
        found += calls
        unchanged |= read
    changed = frozenset[str]().union(*(each.changes for each in found))
    fine = unchanged | {id(node) for each in found for node in ast.walk(each.call)}
    for node in _within(scope):
        if (stated := _stated(node)) is not None and _looks_once(stated, changed):
            fine |= {id(each) for each in ast.walk(stated)}
        if isinstance(node, ast.Assert) and node.msg:
            fine |= {id(each) for each in ast.walk(node.msg)}
    if any(isinstance(n.ctx, ast.Load) and id(n) not in fine for n in _looks(scope, changed)):
        raise _OtherTest
    return found


def _within(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a scope, without those of the functions in it."""
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, _FUNCTIONS):
            yield child
            yield from _within(child)


def _blocks(node: ast.AST, bound: set[str]) -> Iterator[tuple[Sequence[ast.stmt], set[str]]]:
    """The blocks of statements of a scope, with the names that are bound at the beginning of each."""
    for name in ("body", "orelse", "finalbody", "handlers"):
        block = getattr(node, name, None)
        if not isinstance(block, list) or not block:
            continue
        if isinstance(block[0], ast.stmt):
            yield block, bound if name == "body" else set()
        for inner in block:
            if not isinstance(inner, _FUNCTIONS):
                yield from _blocks(inner, _stored(inner.target) if isinstance(inner, ast.For) else set())


def _calls_of_block(block: Sequence[ast.stmt], bound: set[str], program: set[str]) -> tuple[list[_Call], set[int]]:
    """The calls of the program that are statements of a block, and the names that it reads before they are changed."""
    found: list[_Call] = []
    read: set[int] = set()
    as_put = set(bound)  # names that mean what the test put there
    for statement in block:
        call = _discarding(statement, program)
        if call:
            known = {*as_put, *(name for each in found for name in each.changes)}
            names = {a.id for a in (*call.args, *(k.value for k in call.keywords)) if isinstance(a, ast.Name)}
            found.append(_Call(statement, call, frozenset(names & known)))
            as_put -= names
            continue
        as_put -= {name for s in ast.walk(statement) if isinstance(s, ast.stmt) for name in _handed(s, program)}
        read |= {id(n) for n in _read_at_once(statement) if n.id in as_put}
        if isinstance(statement, ast.Assign):
            as_put |= {name for target in statement.targets for name in _stored(target)}
    return found, read


def _discarding(statement: ast.stmt, program: set[str]) -> ast.Call | None:
    """The call of the program in a statement that needs nothing else of it."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    test = statement.test if isinstance(statement, ast.Assert) else None
    if isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Is | ast.Eq) and len(test.ops) == 1:
        value = test.left if ast.unparse(test.comparators[0]) == "None" else None
    if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Name) or value.func.id not in program:
        return None
    if any(isinstance(a, ast.Starred) for a in value.args) or any(k.arg is None for k in value.keywords):
        return None
    return value


def _handed(statement: ast.stmt, program: set[str]) -> set[str]:
    """The names that a statement hands to the program and may so change."""
    call = _discarding(statement, program)
    return {n.id for n in ast.walk(call) if isinstance(n, ast.Name)} if call else set()


def _stored(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _read_at_once(node: ast.AST) -> Iterator[ast.Name]:
    """The names that a statement reads when it runs: none of functions and generators, which may run later."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        yield node
    if not isinstance(node, (*_FUNCTIONS, ast.GeneratorExp)):
        for child in ast.iter_child_nodes(node):
            yield from _read_at_once(child)


def _stated(node: ast.AST) -> ast.expr | None:
    """What a statement asserts or returns."""
    if isinstance(node, ast.Return):
        return node.value
    fails = isinstance(node, ast.If) and not node.orelse and all(isinstance(s, ast.Raise) for s in node.body)
    return node.test if isinstance(node, ast.Assert) or (isinstance(node, ast.If) and fails) else None


def _looks_once(stated: ast.expr, changed: frozenset[str]) -> bool:
    """Whether each part of what is stated looks at one changed name at most, and compares it with none."""
    if isinstance(stated, ast.BoolOp):
        return all(_looks_once(value, changed) for value in stated.values)
    if isinstance(stated, ast.UnaryOp):
        return _looks_once(stated.operand, changed)
    sides = [stated.left, *stated.comparators] if isinstance(stated, ast.Compare) else [stated]
    looking = [side for side in sides if any(True for _ in _looks(side, changed))]
    return len(looking) <= 1 and all(_one_each(side, changed) for side in looking)


def _one_each(side: ast.expr, changed: frozenset[str]) -> bool:
    if isinstance(side, ast.Tuple | ast.List):
        return all(_one_each(item, changed) for item in side.elts)
    return len(list(_looks(side, changed))) <= 1


def _looks(node: ast.AST, changed: frozenset[str]) -> Iterator[ast.Name]:
    return (n for n in ast.walk(node) if isinstance(n, ast.Name) and n.id in changed)


def _rewritten(test: str, calls: Sequence[_Call]) -> str:
    """The test with each call that changes names written anew."""
    source = test.encode()
    starts = [0]
    for line in re.split(rb"(?<=\n)", source):
        starts.append(starts[-1] + len(line))
    for each in sorted(calls, key=lambda call: (call.statement.lineno, call.statement.col_offset), reverse=True):
        if each.changes:
            names = [a.id if isinstance(a, ast.Name) and a.id in each.changes else _IGNORED for a in each.arguments]
            passed = [ast.unparse(each.call.func), *map(ast.unparse, (*each.call.args, *each.call.keywords))]
            new = f"[{', '.join([_RESULT, *names])}] = {AFTER}({', '.join(passed)})"
            if isinstance(each.statement, ast.Assert):
                new += f"; assert {_RESULT} is None"
            first = starts[each.statement.lineno - 1] + each.statement.col_offset
            last = starts[(each.statement.end_lineno or 1) - 1] + (each.statement.end_col_offset or 0)
            source = source[:first] + new.encode() + source[last:]
    return source.decode()
