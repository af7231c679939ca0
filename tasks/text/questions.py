"""Questions about documented objects, answered by their own authors: the first sentence of the docstring.

A question shows the object's name and parameters, and where it is from; a rule keeps only answers that have something
to do with these, since a model can learn to answer nothing else about objects that it has never read of. A rule gives
the reason why there is no question, as a name for the ledger.
"""

import hashlib
import re
from dataclasses import dataclass

from tasks.text.docstrings import DocumentedObject, display_name, first_paragraph, is_public

_MOST_PARAMETERS = 6
_LONGEST_PLACE = 40

QUESTIONS = {
    "function": (
        "What does `{call}` in {place} do?",
        "In {place}, what does `{call}` do?",
        "Explain the function `{call}` of {place} in one sentence.",
    ),
    "method": (
        "What does `{call}` in {place} do?",
        "In {place}, what does `{call}` do?",
        "Explain the method `{call}` of {place} in one sentence.",
    ),
    "class": (
        "What is the class `{call}` in {place} for?",
        "In {place}, what is the class `{call}`?",
        "Explain the class `{call}` of {place} in one sentence.",
    ),
    "property": (
        "What is the property `{call}` in {place}?",
        "In {place}, what does the property `{call}` give?",
        "Explain the property `{call}` of {place} in one sentence.",
    ),
    "module": (
        "What is the module `{call}` for?",
        "What does the module `{call}` contain?",
        "Explain the module `{call}` in one sentence.",
    ),
}

PRIVATE = "private_object"
TOO_SHORT = "answer_too_short"
TOO_LONG = "answer_too_long"
NOT_PLAIN = "answer_not_plain_ascii"
BOILERPLATE = "answer_is_boilerplate"
NOT_PROSE = "answer_is_no_prose"
UNRELATED = "answer_unrelated_to_name"

_ROLE = re.compile(r":(?:[a-z]+:){1,2}`+([^`]*)`+")
_REFERENCE = re.compile(r"\[`~?(?:[\w.]*\.)?(\w+)`\]|`~(?:[\w.]*\.)?(\w+)`")
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)|`([^`<]+?)\s*<[^>`]+>`_{1,2}")
_EMPHASIS = re.compile(r"(?<!\w)\*{1,2}(\w[^*`]*)\*{1,2}(?!\w)")
_FIELDS = re.compile(
    r"\s(?=:(?:param|arg|returns?|type|rtype|raises?|key|keyword)\b|(?:Args|Arguments|Parameters|Returns|Raises|Yields|"
    r"Examples?|Notes?|Usage|Attributes|References|See Also):|>>> )"
)
_SENTENCE = re.compile(r"(?<![.\s][a-z])(?<!\be\.g)(?<!\bi\.e)(?<!\betc)(?<!\bvs)(?<!\bcf)([.!])\s+(?=[A-Z`'\"(])")
_BOILERPLATE = re.compile(
    r"deprecat|\btodo\b|\bfixme\b|missing associated|backwards?.compat|no.?op\b|do not use|never called|"
    r"not implemented|(calls?|invokes?) super|^see\b|see (also|the|:|`)|optional, (defaults|returned)|like `|"
    r"^(a )?(mock|dummy|stub|placeholder)\b|abstract (method|property)|^(implementation of|implements) `?[\w.]+`?\.$|"
    r"^(alias|same as|inherit|overrid|overload|internal|auto-?generated|ditto|copyright|part of|refer to)\b|"
    r"^identical to\b|^(the|this) (method|function|class|module|property) (is|has|was|can|may|should|must|will)\b",
    re.IGNORECASE,
)
_CODE = re.compile(r"`[^`]*`")
_NO_PROSE = re.compile(
    r">>>|::|https?:|www\.|[|{}<>\\~^@;]|[=+*-]{2,}|\s[=+*]\s|\.\.\.|^[^\w'\"]|^[\w.]+ ?:|^\w+ \([^)]*\) ?:|"
    r"^\w+ ?\(\w*,|[:,;(]$"
)
_SHORT_WORDS = frozenset(
    """a an the of to for in on at by with from and or if is are be as it its this that these those all any not no into
    which when whether given each one can will was has have do does did used using use via than then only other new
    same return returns returned get gets set sets object objects class function method self value values name names
    """.split()  # noqa: SIM905 (thirty quoted words a line are harder to read)
)


@dataclass(frozen=True)
class Question:
    """A question and its author's answer. ``pattern``: the answer with the words of the object's name blanked."""

    prompt: str
    response: str
    pattern: str


@dataclass(frozen=True)
class AnswerLimits:
    """``min_overlap``: share of an answer's content words that the object's name and parameters must hold."""

    min_chars: int
    max_chars: int
    min_overlap: float


def ask(item: DocumentedObject, module: str, limits: AnswerLimits) -> Question | str:
    """The question about an object, or the reason why none is asked."""
    if not is_public(item.qualname):
        return PRIVATE
    response = answer(item.docstring)
    if len(response) < limits.min_chars or len(response.split()) < 4:
        return TOO_SHORT
    if len(response) > limits.max_chars:
        return TOO_LONG
    if not response.isascii() or not response.isprintable():
        return NOT_PLAIN
    if _BOILERPLATE.search(response):
        return BOILERPLATE
    prose = _CODE.sub("CODE", response)
    letters = sum(character.isalpha() or character == " " for character in prose)
    if _NO_PROSE.search(prose) or letters < 0.85 * len(prose):
        return NOT_PROSE
    known = _stems(f"{module.rpartition('.')[2]} {item.qualname} {' '.join(item.parameters)}")
    told = _stems(response)
    if len(known & told) < max(limits.min_overlap * len(told), 1e-9):
        return UNRELATED
    return Question(prompt(item, module), response, _pattern(response, known))


def answer(docstring: str) -> str:
    """First sentence of a docstring as plain text, with a capital and a full stop. May be empty."""
    text = _FIELDS.split(" " + first_paragraph(docstring), maxsplit=1)[0].strip()
    text = _ROLE.sub(lambda found: f"`{_bare(found[1])}`", text)
    text = _REFERENCE.sub(lambda found: f"`{found[1] or found[2]}`", text)
    text = _LINK.sub(lambda found: found[1] or found[2], text).replace("``", "`")
    text = _EMPHASIS.sub(r"\1", text)
    text = _SENTENCE.split(text, maxsplit=1)[0].strip()
    first = text.split(" ", 1)[0]
    if first.isalpha() and first.islower():
        text = text[0].upper() + text[1:]
    return text + "." if text and (text[-1].isalnum() or text[-1] in ")`'\"") else text


def _bare(target: str) -> str:
    """``~pandas.DataFrame`` → ``DataFrame``; ``text <target>`` → ``text``."""
    shown = target.split("<", 1)[0].strip() or target
    return shown.rpartition(".")[2] if shown.startswith(("~", ".", "_")) else shown


def prompt(item: DocumentedObject, module: str) -> str:
    """One of the questions for this kind of object, chosen by the hash of its name."""
    name = display_name(module, item.qualname)
    questions = QUESTIONS[item.kind]
    chosen = questions[hashlib.sha256(f"{module}:{item.qualname}".encode()).digest()[0] % len(questions)]
    if item.kind == "module":
        return chosen.format(call=name)
    call = ".".join(item.qualname.split(".")[-2:])
    if item.kind in ("function", "method") or item.parameters:
        shown = [name for name in item.parameters if name not in ("args", "kwargs")]
        more = ["..."] if len(shown) > _MOST_PARAMETERS else []
        call += f"({', '.join(shown[:_MOST_PARAMETERS] + more)})"
    place = display_name(module, "")
    return chosen.format(call=call, place=place if len(place) <= _LONGEST_PLACE else place.split(".", 1)[0])


def words(text: str) -> list[str]:
    """Words of prose or of identifiers, lower case: ``MinHashLSH.get_counts`` → min, hash, lsh, get, counts."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", text)]


def _stems(text: str) -> set[str]:
    return {word[:5] for word in words(text) if len(word) > 2 and word not in _SHORT_WORDS}


def _pattern(response: str, known: set[str]) -> str:
    text = re.sub(r"\w*(?:[a-z0-9][A-Z]|_)\w*", " _ ", response)  # identifiers, whether or not they are the object's
    masked = ["_" if word[:5] in known else word for word in re.findall(r"_|\w+", text.lower())]
    return " ".join(word for word, before in zip(masked, ["", *masked], strict=False) if (word, before) != ("_", "_"))
