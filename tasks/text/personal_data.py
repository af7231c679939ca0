"""Personal data and secrets: found by patterns, proved where a number allows it, and masked.

One search that costs little finds the few texts that may hold any; only those are looked at closely, by patterns whose
time grows with the text alone, whatever it holds. What takes the
place of a find is in brackets, or reserved for examples (RFC 2606, RFC 5737, RFC 3849), and is never a find itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal, get_args

import numpy as np
import phonenumbers
import pyarrow as pa
import pyarrow.compute as pc

PersonalData = Literal["email", "ip_address", "card_number", "iban", "secret", "phone"]
KINDS: tuple[PersonalData, ...] = get_args(PersonalData)

# Characters of an IBAN by country (registry of ISO 13616).
IBAN_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FK FO FI GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU XK", 21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HU LB NI PL SV",
        29: "BR EG PS QA UA", 30: "JO KW MU", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
# Name servers that everybody writes down as examples.
PUBLIC_SERVERS = frozenset({
    "2001:4860:4860::8888", "2001:4860:4860::8844", "2606:4700:4700::1111", "2606:4700:4700::1001", "2620:fe::fe",
})  # fmt: skip
# What stands before four numbers that are no address.
NUMBERED_BEFORE = re.compile(
    r"(?i)(?:\b(?:versions?|ver\.?|v\.?|release|build|runtime|section|chapter|clause|oid)|[=<>~!]=|[~^])[ :=\"'(]*\Z"
)
CONTEXT_CHARS = 24


def luhn(number: str) -> bool:
    """Whether the last digit checks the others (ISO/IEC 7812-1, annex B); what is no digit is passed over."""
    digits = [int(character) for character in number if character.isdigit()]
    doubled = [2 * digit - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def mailbox(found: re.Match[str]) -> int:
    """Somebody's mailbox: the user `git` of a host is nobody."""
    return 0 if found.group().startswith("git@") else len(found.group())


def card_number(found: re.Match[str]) -> int:
    """Luhn's check, and more than two different digits: fewer are placeholders."""
    text = found.group()
    return len(text) if luhn(text) and len({*text} - {" ", "-"}) > 2 else 0


def iban(found: re.Match[str]) -> int:
    """Country, length and the check digits fit (ISO 13616: the number, its first four characters moved to the end and
    letters read as 10 to 35, is 1 modulo 97). What follows in capitals is left alone."""
    text = found.group()
    length = IBAN_LENGTHS.get(text[:2], 0)
    places = [place for place, character in enumerate(text) if character != " "][:length]
    if not length or len(places) < length:
        return 0
    compact = "".join(text[place] for place in places)
    number = int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4]))
    return places[-1] + 1 if number % 97 == 1 else 0


def public_address(found: re.Match[str]) -> int:
    """An address of the public internet: of no private, local, reserved or documentation network, no version number.

    Of four numbers as in 4.0.0.0 or 1.2.3.4 a version is likelier than an address: at least two must exceed 9, as they
    do in 99.6% of addresses drawn at random.
    """
    text = found.group()
    try:
        address = ip_address(text)
    except ValueError:
        return 0
    if address.version == 4:
        before = found.string[max(0, found.start() - CONTEXT_CHARS) : found.start()]
        if sum(part > 9 for part in address.packed) < 2 or NUMBERED_BEFORE.search(before):
            return 0
    return len(text) if address.is_global and not address.is_multicast and str(address) not in PUBLIC_SERVERS else 0


def random_key(found: re.Match[str]) -> int:
    """A key as a service draws it: placeholders repeat a few characters, or hold no digit."""
    value = found[found.lastgroup] if found.lastgroup else found.group()
    body = re.sub(r"^\w{2,5}[-_]|\W", "", value)
    return len(found.group()) if len(set(body)) >= 8 and re.search(r"\d", body) else 0


def phone_number(found: re.Match[str]) -> int:
    """A number that the numbering plan of its country has (libphonenumber); without country code, of North America."""
    try:
        return len(found.group()) if phonenumbers.is_valid_number(phonenumbers.parse(found.group(), "US")) else 0
    except phonenumbers.NumberParseException:
        return 0


@dataclass(frozen=True)
class Detector:
    """One form of one kind. A group named `value` is what is masked, else all of it.

    hint: a short expression (RE2) that matches in every find. proof: how many characters of what the pattern found are
    a find; 0 for what only looks like one.
    """

    kind: PersonalData
    hint: str
    pattern: str
    mask: str
    proof: Callable[[re.Match[str]], int] | None = None


DETECTORS = (
    Detector(
        "email", "[0-9A-Za-z]@[0-9A-Za-z]",
        r"[A-Za-z0-9][A-Za-z0-9._%+\-]{0,63}@[A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)*\.[A-Za-z]{2,24}\b", "name@example.com",
        mailbox,
    ),
    Detector(
        "secret", "PRIVATE KEY",
        r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----(?:\s|\\n)*(?:[A-Za-z\-]{1,20}: [^\n]{0,100}\s{1,9}){0,9}"
        r"(?:[A-Za-z0-9+/=]{16,}(?:\s|\\n)*)+[A-Za-z0-9+/=]{0,80}\s*"
        r"(?:-----END [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----)?",
        "[private key]",
    ),
    Detector("secret", r"eyJ\w", r"\beyJ[\w\-]{8,1000}\.eyJ[\w\-]{8,9000}\.[\w\-]{16,1000}", "[token]"),
    Detector(  # AWS; GitHub, GitLab; Slack; Google; OpenAI, Anthropic; Stripe; Hugging Face; npm; PyPI; SendGrid
        "secret",
        r"A[KS]IA[0-9A-Z]|gh[pousr]_|github_pat|glpat-|xox[a-z]-|AIza|(?:^|[^\w-])sk-|[rs]k_(?:live|test)_|hf_\w{30}|"
        r"npm_\w{30}|pypi-AgEI|SG[.][\w-]{22}[.]",
        r"(?<![\w\-])(?:A[KS]IA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{40,}|glpat-[\w\-]{20,}|"
        r"xox[abeprs]-[A-Za-z0-9\-]{20,}|AIza[\w\-]{35}|sk-[\w\-]{20,}|"
        r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,}|hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{36}|pypi-AgEI[\w\-]{50,}|"
        r"SG\.[\w\-]{22}\.[\w\-]{43})(?![\w\-])", "[key]", random_key,
    ),
    Detector(
        "secret", "(?i:secret_?(?:access_?)?key)", r"(?i:aws_?)?(?i:secret_?(?:access_?)?key)[\"']?\s*[:=]\s*[\"']?"
        r"(?P<value>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])", "[key]", random_key,
    ),
    Detector(
        "ip_address", r"\d[.]\d+[.]\d+[.]\d",
        r"(?<![\w.:\-])(?<!\w/)\d{1,3}(?:\.\d{1,3}){3}(?![\w\-]|\.\d)", "192.0.2.1", public_address,
    ),
    Detector(
        "ip_address", "[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]",
        r"(?<![\w.:])[23][0-9A-Fa-f]{3}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])", "2001:db8::1", public_address,
    ),
    Detector(
        "card_number", "[2-6]\\d{3}[ -]?\\d{4}[ -]?\\d{4}[ -]?\\d|3[47]\\d\\d[ -]?\\d{6}",
        r"(?<![\w.+\-/])(?<!\w\()(?:(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|6(?:011|4[4-9]\d|5\d\d)|35\d\d)([ \-]?)\d{4}\1"
        r"\d{4}\1\d{4}|"
        r"3[47]\d\d([ \-]?)\d{6}\2\d{5})(?![\w\-]|[.,]\d)", "[card number]", card_number,
    ),
    Detector(
        "iban", r"[A-Z]{2}\d\d ?[0-9A-Z]{4} ?[0-9A-Z]{4}",
        r"(?<![A-Za-z0-9])[A-Z]{2}\d\d(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])", "[IBAN]", iban,
    ),
    Detector(
        "phone", r"[+][1-9]\d|[(]\d{3}[)] ?\d{3}-|\d{3}-\d{3}-\d{4}",
        r"(?<![\w.+\-*/=^,])(?:\+[1-9]\d{0,2}[ .\-]?(?:\(\d{1,4}\)[ .\-]?)?\d{1,4}(?:[ .\-]?\d{2,4}){2,5}|"
        r"\(\d{3}\) ?\d{3}-\d{4}|\d{3}-\d{3}-\d{4})(?![\w\-]|[.,]\d)", "[phone number]", phone_number,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Masked:
    """Texts with personal data masked, and how many finds of each kind each text had: kind → (N,) int64."""

    texts: pa.Array
    finds: dict[PersonalData, np.ndarray]


class PersonalDataMask:
    """Finds and masks chosen kinds."""

    def __init__(self, kinds: Sequence[PersonalData]) -> None:
        self.kinds = tuple(kind for kind in KINDS if kind in kinds)
        detectors = [detector for detector in DETECTORS if detector.kind in self.kinds]
        self._hint = "|".join(detector.hint for detector in detectors)
        self._patterns = [(detector, re.compile(detector.pattern, re.ASCII)) for detector in detectors]

    def apply(self, column: pa.Array) -> Masked:
        """The column masked."""
        finds = {kind: np.zeros(len(column), np.int64) for kind in self.kinds}
        if not self.kinds:
            return Masked(column, finds)
        rows = np.flatnonzero(pc.match_substring_regex(column, self._hint).to_numpy(zero_copy_only=False))
        candidates = column.take(pa.array(rows))
        texts = candidates.to_pylist()
        for detector, pattern in self._patterns:
            hinted = pc.match_substring_regex(candidates, detector.hint).to_numpy(zero_copy_only=False)
            for place in np.flatnonzero(hinted).tolist():
                texts[place], count = mask(texts[place], detector, pattern)
                finds[detector.kind][rows[place]] += count
        order = np.arange(len(column))
        order[rows] = len(column) + np.arange(len(rows))
        whole = pa.concat_arrays([column, pa.array(texts, column.type)])
        return Masked(whole.take(pa.array(order)), finds)


def mask(text: str, detector: Detector, pattern: re.Pattern[str]) -> tuple[str, int]:
    """The text with what one detector finds masked, and how many finds there were (masks themselves are none)."""
    pieces, end = [], 0
    count = 0
    for found in pattern.finditer(text):
        begin = found.start("value") if "value" in pattern.groupindex else found.start()
        length = detector.proof(found) if detector.proof else len(found.group())
        if length and found.group() != detector.mask:
            pieces += [text[end:begin], detector.mask]
            end = found.start() + length
            count += 1
    return ("".join([*pieces, text[end:]]), count) if count else (text, 0)
