"""What commands, characters and words mean in answers: the tables of the tokenizer and the parsers."""

from __future__ import annotations

# characters as LaTeX or in ASCII
CHARACTERS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "×": "\\times ", "·": "\\cdot ", "⋅": "\\cdot ", "÷": "/",
    "∞": "\\infty ", "≤": "<=", "≥": ">=", "⩽": "<=", "⩾": ">=", "≠": "\\ne ", "±": "\\pm ", "∓": "\\mp ",
    "°": "\\degree ", "∪": "\\cup ", "∩": "\\cap ", "∈": "\\in ", "∉": "\\notin ", "≈": "\\approx ", "√": "\\sqrt ",
    "∅": "\\emptyset ", "⟨": "\\langle ", "⟩": "\\rangle ", "〈": "\\langle ", "〉": "\\rangle ", "∨": "\\lor ",
    "∧": "\\land ", "≡": "\\equiv ", "→": "\\to ", "∀": "\\forall ", "…": "\\ldots ", "⋯": "\\cdots ",
    "ℝ": "\\mathbb{R}", "ℤ": "\\mathbb{Z}", "ℕ": "\\mathbb{N}", "′": "'", "″": "''", "⌊": "\\lfloor ",
    "⌋": "\\rfloor ", "⌈": "\\lceil ", "⌉": "\\rceil ", "∣": "|", "△": "\\triangle ", "½": "\\frac{1}{2}",
    "⅓": "\\frac{1}{3}", "⅔": "\\frac{2}{3}", "¼": "\\frac{1}{4}", "¾": "\\frac{3}{4}", "⅛": "\\frac{1}{8}",
    "π": "\\pi ", "θ": "\\theta ", "α": "\\alpha ", "β": "\\beta ", "γ": "\\gamma ", "λ": "\\lambda ",
    "ω": "\\omega ", "φ": "\\phi ", "τ": "\\tau ", "σ": "\\sigma ", "μ": "\\mu ", "ρ": "\\rho ", "δ": "\\delta ",
    "ε": "\\epsilon ", "、": ",", "。": ".", "“": "\"", "”": "\"", "‘": "'", "’": "'", "✓": " ", "✔": " ", "✅": " ",
    "■": " ", "□": " ",
    "∎": " ", "（": "(", "）": ")", "％": "%", "：": ":", "；": ";", "，": ",", "．": ".", "￥": "¥",
}  # fmt: skip
# raised and lowered characters
RAISED = {
    "⁰": "0", "¹": "1", "²": "2", "³": "3", "⁴": "4", "⁵": "5", "⁶": "6", "⁷": "7", "⁸": "8", "⁹": "9", "⁻": "-",
    "⁺": "+", "ⁿ": "n",
}  # fmt: skip
# commands without a meaning; a group behind them stays
LAYOUT = {
    "Big", "Bigg", "Biggl", "Biggr", "Bigl", "Bigr", "Huge", "LARGE", "Large", "bf", "bfseries", "big", "bigg",
    "biggl", "biggr", "bigl", "bigr", "blacksquare", "bm", "boldmath", "boldsymbol", "boxed", "cal", "centering",
    "checkmark", "displaystyle", "em", "ensuremath", "fbox", "footnotesize", "framebox", "hfil", "hfill", "hline",
    "huge", "it", "itshape", "large", "left", "limits", "mathbf", "mathbin", "mathcal", "mathclose", "mathfrak",
    "mathit", "mathnormal", "mathop", "mathopen", "mathord", "mathpunct", "mathrel", "mathscr", "mathsf",
    "mathstrut", "mathtt", "medspace", "middle", "noindent", "nolimits", "nonumber", "normalsize", "notag",
    "overbrace", "pmb", "qed", "qedhere", "relax", "right", "rm", "rmfamily", "scriptscriptstyle", "scriptstyle",
    "sf", "small", "smash", "square", "strut", "textstyle", "tiny", "tt", "underbrace", "underline", "unicode",
    "vfill", "vphantom",
}  # fmt: skip
# commands that are a blank
SPACES = {"enskip", "enspace", "medspace", "nobreakspace", "qquad", "quad", "space", "thickspace", "thinspace"}
# commands that mean nothing, nor does the group behind them
DROPPED_WITH_GROUP = {
    "cline", "color", "eqref", "hphantom", "hskip", "hspace", "label", "phantom", "ref", "tag", "vspace",
}  # fmt: skip
# commands whose first group is a colour
COLOURED = {"colorbox", "textcolor"}
# commands whose group is prose
TEXT = {
    "emph", "hbox", "mbox", "text", "textbf", "textit", "textnormal", "textrm", "textsc", "textsf", "texttt",
    "textup",
}  # fmt: skip
# commands whose letters are words or names
UPRIGHT = {"mathbb", "mathrm", "operatorname"}
# commands that are signs
SPELLED = {
    "leq": "<=", "le": "<=", "leqslant": "<=", "leqq": "<=", "geq": ">=", "ge": ">=", "geqslant": ">=",
    "geqq": ">=", "lt": "<", "gt": ">", "ne": "!=", "neq": "!=", "times": "*", "cdot": "*", "ast": "*", "div": "/",
    "colon": ":", "lbrace": "\\{", "rbrace": "\\}", "lbrack": "[", "rbrack": "]", "lparen": "(", "rparen": ")",
    "vert": "|", "lvert": "|", "rvert": "|", "mid": "|", "Vert": "\\|", "lVert": "\\|", "rVert": "\\|",
    "prime": "'", "pounds": "£", "euro": "€", "degree": "°", "textdegree": "°", "backslash": "/", "semicolon": ";",
    "dollar": "$",
}  # fmt: skip
# commands that mean the same as another
SAME_COMMAND = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom", "vee": "lor",
    "wedge": "land", "dots": "ldots", "cdots": "ldots", "dotsc": "ldots", "dotsb": "ldots", "dotsm": "ldots",
    "dotso": "ldots", "vdots": "ldots", "simeq": "approx", "thickapprox": "approx", "cong": "approx",
    "varnothing": "emptyset", "rightarrow": "to", "bmod": "mod", "iff": "Leftrightarrow", "implies": "Rightarrow",
    "Longrightarrow": "Rightarrow", "varepsilon": "epsilon", "varphi": "phi", "vartheta": "theta",
    "smallsetminus": "setminus", "backepsilon": "ni", "bar": "overline", "widehat": "hat", "tg": "tan",
    "ctg": "cot", "arctg": "arctan", "Reals": "mathbbR", "R": "mathbbR", "Z": "mathbbZ", "N": "mathbbN",
    "Q": "mathbbQ", "gcf": "gcd", "inf": "infimum", "sup": "supremum", "intercal": "top",
}  # fmt: skip
# words between answers
CONNECTIVES = {"and": "and", "or": "or", "或": "or", "或者": "or", "和": "and", "且": "and", "与": "and", "以及": "and"}
# letters
GREEK = {
    "Delta", "Gamma", "Lambda", "Omega", "Phi", "Psi", "Sigma", "Theta", "Xi", "alpha", "beta", "chi", "delta",
    "ell", "epsilon", "eta", "gamma", "hbar", "iota", "kappa", "lambda", "mu", "nu", "omega", "phi", "psi", "rho",
    "sigma", "tau", "theta", "upsilon", "xi", "zeta",
}  # fmt: skip
# functions, as commands or bare
FUNCTIONS = {
    "Im", "Pr", "Re", "Var", "abs", "arccos", "arccot", "arcsin", "arctan", "arg", "binom", "cbrt", "ceil", "cis",
    "cos", "cosh", "cot", "csc", "deg", "det", "dim", "exp", "floor", "gcd", "infimum", "lcm", "lg", "lim", "ln",
    "log", "max", "min", "perm", "rank", "sec", "sgn", "sin", "sinh", "sqrt", "supremum", "tan", "tanh", "tr",
}  # fmt: skip
# constants and sets, by command or bare name
CONSTANTS = {
    "pi": "pi", "infty": "infinity", "infinity": "infinity", "inf": "infinity", "oo": "infinity", "Pi": "pi",
    "mathbbR": "reals", "mathbbZ": "integers", "mathbbN": "naturals", "mathbbQ": "rationals",
    "mathbbC": "complexes", "emptyset": "empty",
}  # fmt: skip
# operators over a letter
BIG = {"bigcap", "bigcup", "iint", "int", "oint", "prod", "sum"}
# marks on a letter
WRAPPERS = {
    "Delta", "angle", "ddot", "dot", "hat", "measuredangle", "nabla", "overleftrightarrow", "overline",
    "overrightarrow", "tilde", "triangle", "vec", "widetilde",
}  # fmt: skip
# words of two or three letters; other short runs of letters are products, "2xy"
SHORT_WORDS = {
    "so", "we", "it", "he", "she", "all", "an", "and", "any", "are", "as", "at", "box", "boy", "by", "can",
    "cat", "day", "dog", "even", "few",
    "for", "girl", "has", "if", "in", "is", "its", "man", "men", "new", "no", "none", "not", "odd", "of", "old",
    "on", "one", "or", "per", "red", "set", "six", "sum", "ten", "the", "to", "true", "two", "was", "yes",
}  # fmt: skip
# relations
RELATION_COMMANDS = {
    "in": "in", "notin": "notin", "approx": "approx", "equiv": "equiv", "sim": "approx", "to": "to",
    "subset": "subset", "subseteq": "subseteq", "parallel": "parallel", "perp": "perp", "propto": "propto",
    "ll": "ll", "gg": "gg", "ni": "ni",
}  # fmt: skip
# environments whose rows are answers
ROWS = {
    "align", "alignat", "aligned", "array", "cases", "dcases", "eqnarray", "equation", "gather", "gathered",
    "multline", "rcases", "split",
}  # fmt: skip
# words that say what a letter stands for
NAMING = {
    "a", "all", "an", "and", "any", "arbitrary", "are", "complex", "constant", "constants", "each", "every", "for",
    "in", "integer", "integers", "is", "natural", "negative", "non-negative", "non-zero", "nonnegative", "nonzero",
    "number", "numbers", "of", "positive", "rational", "real", "reals", "some", "the", "where", "with",
}  # fmt: skip
# words in front of an answer that add nothing
ANONYMOUS = {
    "about", "answer", "approx", "approximately", "are", "around", "equal", "equals", "exactly", "final", "hence",
    "is", "it", "just", "nearly", "only", "or", "result", "roughly", "so", "the", "then", "therefore", "thus", "to",
    "total", "value",
}  # fmt: skip
# other spellings of words
SAME_WORDS = {
    "dne": ("does", "not", "exist"), "doesn't": ("does", "not"), "undefined": ("undefined",),
    "nonexistent": ("does", "not", "exist"), "&": ("and",),
}  # fmt: skip
