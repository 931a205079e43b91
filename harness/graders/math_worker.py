r"""A fork server that compares answers with math-verify, and the children that do it. Runs in processes of its own.

`main` imports math-verify once. On each request over standard input it kills its child and forks a new one, and sends
back the socket on which the child answers. The child reads {"gold", "pred", "cpu_s"} and writes {"gold": true} when it
has read the gold, then {"equal", "why"}, so the caller knows on which of the two it hangs. If a child hangs, uses all
its memory or crashes, the server kills it, and the next one is ready in milliseconds.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import math
import os
import re
import resource
import signal
import socket
import struct
import sys
from typing import Any

from harness.graders.math_compare import alike
from harness.graders.math_forms import deep, read_form
from harness.processes import end_with_parent

_CONTROL = 0  # standard input: the socket to the pool
MAX_MESSAGE = 1 << 20  # bytes


def main() -> None:
    """Serve the pool until it disconnects. One byte in: the child is killed, a new one forked, its socket sent back."""
    memory_bytes = int(sys.argv[1])
    control = socket.socket(fileno=_CONTROL)
    _warm_up()
    gc.collect()
    gc.freeze()
    child, own = 0, os.getpid()
    while control.recv(1):
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        near, far = socket.socketpair()
        child = os.fork()
        if child == 0:
            control.close()
            near.close()
            _serve(far, memory_bytes, own)
        far.close()
        socket.send_fds(control, [b"."], [near.fileno()])
        near.close()


def _warm_up() -> None:
    """Import math-verify and build its grammars, so that no child has to."""
    logging.disable(logging.CRITICAL)
    equal_by_algebra(r"\frac{1}{2}+\sqrt{2}x", r"x\sqrt{2}+0.5")


def _serve(channel: socket.socket, memory_bytes: int, server: int) -> None:
    """Answer requests until the pool disconnects or a limit ends the process. Never returns."""
    end_with_parent(server)
    null = os.open(os.devnull, os.O_RDWR)
    for target in (0, 1, 2):
        os.dup2(null, target)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    try:
        while (request := receive(channel)) is not None:
            used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
            resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used + request["cpu_s"]), hard))
            send(channel, _answer(channel, request))
    finally:
        os._exit(0)


def _answer(channel: socket.socket, request: dict[str, Any]) -> dict[str, Any]:
    """The verdict. On MemoryError and RecursionError it is "not equal": a string that costs so much equals nothing."""
    with contextlib.suppress(Exception):
        _parse(read_form(request["gold"]).text)
    send(channel, {"gold": True})
    try:
        equal, why = alike(request["gold"], request["pred"], equal_by_algebra)
    except (MemoryError, RecursionError) as e:
        return {"equal": False, "why": type(e).__name__}
    return {"equal": equal, "why": why}


def send(channel: socket.socket, message: dict[str, Any]) -> None:
    """Send one message: length, then JSON. Raises OSError if the other end is closed."""
    data = json.dumps(message).encode()
    channel.sendall(struct.pack("!I", len(data)) + data)


def receive(channel: socket.socket) -> dict[str, Any] | None:
    """The next message; None if the other end is closed. Raises TimeoutError, and ValueError for a bad message."""
    data = b""
    wanted = 4
    while len(data) < wanted:
        part = channel.recv(wanted - len(data))
        if not part:
            return None
        data += part
        if wanted == 4 == len(data):
            wanted += struct.unpack("!I", data)[0]
            if wanted > MAX_MESSAGE:
                raise ValueError(f"a message may have at most {MAX_MESSAGE} bytes, this one announces {wanted}")
    message = json.loads(data[4:])
    if not isinstance(message, dict):
        raise ValueError(f"a message is an object, this is {message!r:.80}")
    return message


# --- algebra -----------------------------------------------------------------------------------------------------

# A string is compared by algebra only if it consists of these parts: math-verify silently drops a part that it cannot
# read and compares the remainder. A string with any other part equals only itself.
_READABLE = re.compile(
    r"""(?: [\s\d.,+\-*/^_()\[\]{}|=<>!:&'] | \\[{}|,;!\\] | \\(?:begin|end)\{[pbvBV]?matrix\}
    | (?:arc|arg)?(?:sin|cos|tan|cot|sec|csc)h? | [a-zA-Z](?![a-zA-Z]{3})
    | \\(?:frac|sqrt|binom|d?tbinom|pi|infty|cdot|times|div|pm|leq|geq|neq|in|cup|cap|setminus|sum|prod|int|lim|to
        |(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?|log|ln|lg|exp|max|min|gcd|lcm|det|mod|bmod|pmod|lfloor|rfloor|lceil|rceil
        |langle|rangle|alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|rho|sigma|tau
        |upsilon|phi|varphi|chi|psi|omega|Gamma|Delta|Theta|Lambda|Xi|Pi|Sigma|Phi|Psi|Omega|hbar|ell|prime|overline|bar
        |hat|vec|quad|mid|angle|cis|Re|Im|partial|nabla|emptyset|circ)(?![a-zA-Z]) )*+""",
    re.VERBOSE,
)
_FACTOR = re.compile(r"(?<![a-zA-Z\\{])([eixyz])\s*\(")  # x(x+1) is a product, f(x) is not
_TRIGONOMETRIC = re.compile(r"sin|cos|tan|cot|sec|csc|cis")


def equal_by_algebra(gold: str, pred: str) -> bool:
    """Whether two expressions, relations or sets are equal; False if one of them cannot be read as a whole."""
    from math_verify import verify
    from sympy import Basic, Eq, Expr

    if _primes(gold) != _primes(pred):
        return False  # math-verify drops primes: f' would be f
    if any(deep(s) or not _READABLE.fullmatch(s) for s in (gold.replace("°", ""), pred.replace("°", ""))):
        return False
    golds, preds = _parse(gold), _parse(pred)
    if golds is None or preds is None:
        return False
    if isinstance(golds, Eq) and isinstance(preds, Eq):
        return _same_equation(golds, preds)
    if not verify([golds], [preds], strict=True, allow_set_relation_comp=True, timeout_seconds=None):
        return isinstance(golds, Expr) and isinstance(preds, Expr) and _provably_equal(golds, preds)
    return not (isinstance(golds, Basic) and isinstance(preds, Basic)) or not _differ(golds, preds)


def _parse(text: str) -> Any:
    """The sympy object of a cleaned string; None if math-verify cannot read it, or leaves letters out."""
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse
    from sympy import I

    radians = r"\cdot\frac{\pi}{180}" if _TRIGONOMETRIC.search(text) else ""
    written = _FACTOR.sub(r"\1\\cdot (", text.replace("°", radians))
    spelling = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=False, boxed="none", equations=False
    )
    found = parse(
        f"${written}$",
        [LatexExtractionConfig(normalization_config=spelling)],
        fallback_mode="no_fallback",
        parsing_timeout=None,
    )
    if len(found) != 1:
        return None
    if not re.search(r"_\{?i|\\sum|\\prod|i\s*=", written):  # otherwise i is an index
        imaginary = {s: I for s in found[0].free_symbols if s.name == "i"}
        found = [found[0].subs(imaginary)] if imaginary else found
    letters = set(re.findall(r"[a-z]", re.sub(r"\\(?:begin|end)\{\w*\}|\\[a-zA-Z]+", "", written).lower())) - set("ei")
    return found[0] if letters <= set(str(found[0]).lower()) else None


def _primes(text: str) -> int:
    return text.count("'") + text.count(r"\prime")


def _same_equation(gold: Any, pred: Any) -> bool:
    """Whether one equation is a multiple of the other: x + y = 1 is 2x + 2y = 2."""
    from sympy import simplify

    sides = [simplify((e.lhs - e.rhs).doit()) for e in (gold, pred)]
    if sides[0] == 0 or sides[1] == 0:
        return bool(sides[0] == sides[1])
    ratio = simplify(sides[0] / sides[1])
    return bool(ratio.is_number and ratio.is_finite)


def _provably_equal(gold: Any, pred: Any) -> bool:
    """Whether algebra can prove an equality that math-verify's own attempts did not."""
    from sympy import Float

    if not gold.free_symbols or gold.free_symbols != pred.free_symbols or gold.has(Float) or pred.has(Float):
        return False
    try:
        return bool(gold.doit().equals(pred.doit()))
    except (TypeError, ValueError, AttributeError, NotImplementedError):
        return False


def _differ(gold: Any, pred: Any) -> bool:
    """Whether exact constants that agree in 15 digits, or decimals that agree in 6 places, are different numbers.

    math-verify rounds: to it 2^(1/2^1000) is 1 and 0.0000003 is 0.0000004.
    """
    from sympy import Expr, Float

    if not isinstance(gold, Expr) or not isinstance(pred, Expr) or not (gold.is_number and pred.is_number):
        return False
    try:
        difference = abs((gold - pred).doit().evalf(15, maxn=1500))
        if gold.has(Float) or pred.has(Float):
            size = float(abs(gold.doit().evalf(15)))
            return float(difference) > max(1e-6 * min(1.0, size), 1e-12 * size)
        return bool(difference.is_Float and difference > 0 and difference._prec > 1)
    except (TypeError, ValueError, AttributeError, OverflowError):
        return False


if __name__ == "__main__":
    main()
