"""Units of answers: what a word measures, and by which factor ("cm" is a length of 1/100 metre).

Units of measure must agree as such, "60 miles" is not "60 miles per hour"; 120 minutes are 2 hours. What is counted
("5 red marbles", "5 marbles") agrees if the words of one are among those of the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from harness.graders.math_tokens import Token

# a line: measure and power (several joined by "*"), factor to its base unit, names
_TABLE = """
length 1 m meter metre
length 1/100 cm centimeter centimetre
length 1/1000 mm millimeter millimetre
length 1/10 dm decimeter decimetre
length 1000 km kilometer kilometre
length 1/1000000 μm micrometer micron
length 1/1000000000 nm nanometer
length 254/10000 in inch inches
length 3048/10000 ft foot feet
length 9144/10000 yd yard
length 1609344/1000 mi mile
time 1 s sec second 秒
time 60 min minute 分钟
time 3600 h hr hour 小时
time 86400 day 天
time 604800 week 周
time 1/1000 ms millisecond
month 1 month 月
month 12 yr year 年
mass 1 g gram 克
mass 1000 kg kilogram kilo 千克
mass 1/1000 mg milligram
mass 1000000 tonne
mass 45359237/100000 lb pound
mass 45359237/1600000 oz ounce
length3 1/1000 L l liter litre 升
length3 1/1000000 ml mL milliliter millilitre 毫升 cc
length3 473176473/125000000000 gallon gal
length2 10000 hectare ha
length*time-1 1609344/3600000 mph
length*time-1 1000/3600 kph kmh kmph
mass*length*time-2 1 N newton
mass*length2*time-2 1000 J joule
mass*length2*time-3 1000 W watt
dollar 1 $ dollar USD buck 美元
dollar 1/100 cent ¢ penny pennies
euro 1 € euro EUR
sterling 1 £ GBP
yuan 1 ¥ yuan RMB 元
rupee 1 ₹ rupee INR
celsius 1 °C celsius
fahrenheit 1 °F fahrenheit
angle 1 ° degree 度
angle 1/60 arcminute
percent 1 % percent percentage pct
radian 1 rad radian
unit 1 unit
"""
_KNOWN: dict[str, tuple[tuple[tuple[str, int], ...], Fraction]] = {}
for _line in _TABLE.strip().splitlines():
    _measures, _factor, *_names = _line.split()
    _powers = []
    for _measure in _measures.split("*"):
        _name = _measure.rstrip("-0123456789")
        _powers.append((_name, int(_measure[len(_name) :] or 1)))
    _KNOWN.update({name: (tuple(sorted(_powers)), Fraction(_factor)) for name in _names})
MANY = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PREFIXES = {"sq": 2, "square": 2, "squared": 2, "cubic": 3, "cu": 3, "cubed": 3}
_WITHOUT_MEANING = frozenset(
    [
        "of",
        "the",
        "a",
        "an",
        "in",
        "on",
        "at",
        "to",
        "for",
        "total",
        "altogether",
        "each",
        "is",
        "are",
        "about",
        "approximately",
        "approx",
        "roughly",
        "exactly",
        "only",
        "away",
        "long",
        "tall",
        "high",
        "wide",
        "more",
        "left",
        "there",
        "that",
        "they",
        "we",
    ]
)
_PER = ("per", "every")
_BOUNDS = ("or", "and", "than", "most", "least", "not")  # no unit, but another answer: "5 at most"


@dataclass(frozen=True)
class Unit:
    """A unit. powers: of each base measure, sorted; factor: to the base units; labels: what is counted ("apples")."""

    powers: tuple[tuple[str, int], ...] = ()
    factor: Fraction = Fraction(1)
    labels: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The only measure, if it stands alone: "percent", "angle"; else ""."""
        return self.powers[0][0] if len(self.powers) == 1 and self.powers[0][1] == 1 and not self.labels else ""


PERCENT = Unit((("percent", 1),))
DEGREE = Unit((("angle", 1),))
MINUTE = Unit((("angle", 1),), Fraction(1, 60))
CURRENCIES = {sign: Unit(*_KNOWN[sign]) for sign in "$€£¥₹"}


def known(word: str) -> tuple[tuple[tuple[str, int], ...], Fraction] | None:
    """Powers and factor of a unit's name, in the singular or plural; None if it is not one."""
    for name in (
        word,
        word.removesuffix("s"),
        word.removesuffix("es"),
        word.casefold(),
        word.casefold().removesuffix("s"),
    ):
        if name in _KNOWN and (len(name) > 1 or name == word):
            return _KNOWN[name]
    return None


def agree(first: Unit, second: Unit) -> bool:
    """Whether both measure the same, apart from the factor."""
    if first.powers != second.powers:
        return False
    labels = sorted((first.labels, second.labels), key=len)
    return labels[0] <= labels[1]


def read_unit(tokens: Sequence[Token]) -> tuple[Unit, int] | None:
    """The unit that the tokens name, and by how many it multiplies ("million people"); None if they name none."""
    powers: Counter[str] = Counter()
    factor, many = Fraction(1), 1
    labels: set[str] = set()
    sign, prefix, position = 1, 1, 0
    while position < len(tokens):
        token = tokens[position]
        position += 1
        word = token.text
        if token.sign("/") or word in _PER:
            sign = -1
        elif token.sign(".", "*", "(", ")", "{", "}", "-"):
            continue
        elif word in _PREFIXES and token.kind in ("word", "name"):
            prefix = _PREFIXES[word]
            if word in ("squared", "cubed"):
                return None
        elif token.kind in ("word", "name") or token.sign("°", "%", *CURRENCIES):
            if word in _BOUNDS:
                return None
            if word == "°" and position < len(tokens) and tokens[position].text in ("C", "F"):
                word, position = word + tokens[position].text, position + 1
            power, position = _power(tokens, position)
            if power is None:
                return None
            power *= sign * prefix
            found = known(word)
            if word.removesuffix("s") in MANY and not powers and not labels and sign == 1:
                many *= MANY[word.removesuffix("s")]
            elif found:
                for measure, times in found[0]:
                    powers[measure] += times * power
                factor *= found[1] ** power
            elif word.casefold() not in _WITHOUT_MEANING:
                if power != 1 and len(word) == 1:
                    return None
                labels.add(("per " if sign < 0 else "") + word.casefold().removesuffix("s"))
            if sign < 0 and not found:
                sign = 1
            prefix = 1
        else:
            return None
    return Unit(tuple(sorted((m, p) for m, p in powers.items() if p)), factor, frozenset(labels)), many


def _power(tokens: Sequence[Token], position: int) -> tuple[int | None, int]:
    """The exponent that follows, 1 if none does, and where it ends; None if it is not a small integer."""
    if position < len(tokens) and tokens[position].text in ("squared", "cubed"):
        return _PREFIXES[tokens[position].text], position + 1
    if not (position < len(tokens) and tokens[position].sign("^")):
        return 1, position
    position += 1
    digits = ""
    braced = position < len(tokens) and tokens[position].sign("{")
    position += braced
    while position < len(tokens) and (tokens[position].sign("-") or tokens[position].kind == "number"):
        digits += tokens[position].text
        position += 1
        if not braced and digits != "-":
            break
    if braced:
        if not (position < len(tokens) and tokens[position].sign("}")):
            return None, position
        position += 1
    return (int(digits) if digits.removeprefix("-").isdigit() and len(digits) < 4 else None), position
