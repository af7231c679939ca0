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
import xxhash

from tasks.text.encoding import rewrite

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
# Letters of the alphabets that put blanks between words: Latin, Greek, Cyrillic. What stands before an address in
# Chinese or Japanese is a sentence, not part of it.
LETTERS = "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u0370-\u03ff\u0400-\u052f\u1e00-\u1fff"
AT = "(?:@|%40|&#64;|&commat;)"  # as it is, and as addresses of pages and HTML write it
GAP = "[ \u00a0\u202f\\-]"  # between the groups of a card's number


def luhn(number: str) -> bool:
    """Whether the last digit checks the others (ISO/IEC 7812-1, annex B); what is no digit is passed over."""
    digits = [int(character) for character in number if character.isdigit()]
    doubled = [2 * digit - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def mailbox(found: re.Match[str]) -> int:
    """Somebody's mailbox: the user `git` of a host is nobody."""
    return 0 if found["value"].startswith("git@") else len(found.group())


def card_number(found: re.Match[str]) -> int:
    """Luhn's check, and more than two different digits: fewer are placeholders."""
    text = found.group()
    return len(text) if luhn(text) and len({*filter(str.isdigit, text)}) > 2 else 0


def iban(found: re.Match[str]) -> int:
    """Country, length and the check digits fit (ISO 13616: the number, its first four characters moved to the end and
    letters read as 10 to 35, is 1 modulo 97). What follows in capitals is left alone; what goes on in small letters
    without a blank is a digest."""
    text = found.group()
    length = IBAN_LENGTHS.get(text[:2].upper(), 0)
    places = [place for place, character in enumerate(text) if character != " "][:length]
    if not length or len(places) < length:
        return 0
    end = places[-1] + 1
    if text[:2].islower() and text[end : end + 1].strip():
        return 0
    compact = "".join(text[place] for place in places)
    number = int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4]))
    return end if number % 97 == 1 else 0


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
    """A key as a service draws it: placeholders repeat a few characters, or are words in one case.

    Many keys hold no digit: nearly all of Hugging Face's, and one in thirty of AWS's, which are in capitals alone.
    """
    value = found[found.lastgroup] if found.lastgroup else found.group()
    body = re.sub(r"^\w{2,5}[-_]|\W", "", value)
    is_drawn = re.search(r"\d", body) or not (body.islower() or body.isupper()) or value.startswith(("AKIA", "ASIA"))
    return len(found.group()) if len(set(body)) >= 8 and is_drawn else 0


def end_of_key(found: re.Match[str]) -> int:
    """Lines of a key that its end mark follows."""
    return len(found.group()) if found["mark"] else 0


def password(found: re.Match[str]) -> int:
    """What is no placeholder: a word for a password, scott's tiger, a variable, one character over and over."""
    value = found["value"]
    is_named = re.search(r"(?i)pass|pwd|\bpw\b|secret|token|^tiger$|^\$|^%\w+%$", value) and not re.search(r"\d", value)
    return 0 if is_named or len(set(value)) < 3 else len(found.group())


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
    a find; 0 for what only looks like one. signs: sequences (signs.py), one of which stands in every find.
    """

    kind: PersonalData
    hint: str
    pattern: str
    mask: str
    signs: tuple[str, ...]
    proof: Callable[[re.Match[str]], int] | None = None


DETECTORS = (
    Detector(  # before e-mail addresses: a password and its host look like one
        "secret", r"://[^\s/:@]+:[^\s/@]+@",
        r"://[^\s/:@,\[\]<>{}\"'`]{1,100}:(?P<value>[^\s/@\[\]<>{}\"'`]{3,200})(?=@[\w\[])", "[password]",
        (r"[^\s/@]@",), password,
    ),
    Detector(  # the user's part has no bound, so that no rest of it is left before the mask
        "email", rf"[0-9A-Za-z_.%+\-\x{{80}}-\x{{10ffff}}]{AT}[0-9A-Za-z\x{{80}}-\x{{10ffff}}]",
        rf"(?<![0-9_.%+\-{LETTERS}])[.%+\-]*(?P<value>[0-9_{LETTERS}][0-9_.%+\-{LETTERS}]*{AT}[0-9\-{LETTERS}]+"
        rf"(?:\.[0-9\-{LETTERS}]+)*\.[{LETTERS}]{{2,24}})(?![0-9_{LETTERS}])", "name@example.com",
        (r"[^\s/@]@", "%40.", "&#64;", "&commat;"), mailbox,
    ),
    Detector(
        "secret", "PRIVATE KEY",
        r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----(?:\s|\\n)*(?:[A-Za-z\-]{1,20}: [^\n]{0,100}\s{1,9}){0,9}"
        r"(?:[A-Za-z0-9+/=]{16,}(?:\s|\\n)*)+[A-Za-z0-9+/=]{0,80}\s*"
        r"(?:-----END [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----)?",
        "[private key]", ("PRIVATE KEY",),
    ),
    Detector(  # the second part of one whose beginning stands in another document; what has no end mark is passed over
        "secret", "-----END [A-Z ]{0,30}PRIVATE KEY",
        r"(?<![A-Za-z0-9+/=])(?:[A-Za-z0-9+/=]{16,}+(?:\s|\\n)++)++(?:[A-Za-z0-9+/=]{1,80}+(?:\s|\\n)++)?+"
        r"(?P<mark>-----END [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----)?+", "[private key]",
        ("PRIVATE KEY",), end_of_key,
    ),
    Detector("secret", r"eyJ\w", r"\beyJ[\w\-]{8,1000}\.eyJ[\w\-]{8,9000}\.[\w\-]{16,1000}", "[token]",
             (r"eyJ\w",)),
    Detector(  # AWS; GitHub, GitLab; Slack; Google; OpenAI, Anthropic; Stripe; Hugging Face; npm; PyPI; SendGrid;
        # DigitalOcean; Grafana; Telegram
        "secret",
        r"A[KS]IA[0-9A-Z]|gh[pousr]_|github_pat|glpat-|xox[a-z]-|AIza|(?:^|[^\w-])sk-|[rs]k_(?:live|test)_|hf_\w{30}|"
        r"api_org_|npm_\w{30}|pypi-AgEI|SG[.][\w-]{22}[.]|ya29[.]|do[oprt]_v1_|glsa_|\d:AA[\w-]{8}",
        r"(?<![\w\-])(?:A[KS]IA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{40,}|glpat-[\w\-]{20,}|"
        r"xox[abeprs]-[A-Za-z0-9\-]{20,}|AIza[\w\-]{35}|sk-[\w\-]{20,}|"
        r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,}|(?:hf|api_org)_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{36}|pypi-AgEI[\w\-]{50,}|"
        r"SG\.[\w\-]{22}\.[\w\-]{43}|ya29\.[\w\-]{20,}|do[oprt]_v1_[0-9a-f]{64}|glsa_\w{41}|\d{8,10}:AA[\w\-]{33})"
        r"(?![\w\-])", "[key]",
        ("A[KS]IA", "gh[pousr]_", "github_pat_", "glpat-", "xox[abeprs]-", "AIza", r"sk-[\w\-]", "[rs]k_live_",
         "[rs]k_test_", r"hf_\w", "api_org_", r"npm_\w", "pypi-AgEI", r"SG\.\w", r"ya29\.", "do[oprt]_v1_", r"glsa_",
         r"\d:AA"), random_key,
    ),
    Detector(
        "secret", "hooks[.]slack[.]com/|discord(?:app)?[.]com/api/webhooks/",
        r"(?:hooks\.slack\.com/(?:services|workflows)|discord(?:app)?\.com/api/webhooks)/"
        r"(?P<value>\w{5,30}/[\w\-/]{20,200})", "[key]",
        (r"hooks\.slack\.com/", "/api/webhooks/"), random_key,
    ),
    Detector(
        "secret", "(?i:secret_?(?:access_?)?key)", r"(?i:aws_?)?(?i:secret_?(?:access_?)?key)[\"']?\s*[:=]\s*[\"']?"
        r"(?P<value>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])", "[key]",
        ("secret_key", "secretkey", "secret_access", "secretaccess"), random_key,
    ),
    Detector(
        "ip_address", r"\d[.]\d+[.]\d+[.]\d",
        r"(?<![\w.])(?:(?<!-)|(?<=\.\d-)|(?<=\.\d\d-)|(?<=\.\d{3}-))(?<![\d:]:)(?<!\w/)\d{1,3}(?:\.\d{1,3}){3}"
        r"(?!\w|\.\d|-(?!\d{1,3}(?:\.\d{1,3}){3}(?![\w.\-])))", "192.0.2.1",
        (r"\.\d\.", r"\.\d\d\.", r"\.\d\d\d\."), public_address,
    ),
    Detector(
        "ip_address", "[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]",
        r"(?<![\w.:])[23][0-9A-Fa-f]{3}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])", "2001:db8::1",
        ("[23][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]:",), public_address,
    ),
    Detector(
        "card_number",
        rf"(?:^|[^\w.+\-/])(?:[2-6]\d{{3}}(?:{GAP}?\d{{4}}){{2}}{GAP}?\d|3(?:0[0-5]|[4678]\d)\d{GAP}?\d{{6}}{GAP}?\d{{4}})",
        r"(?<![\w.+\-/])(?<!\w\()(?:(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|6(?:011|4[4-9]\d|5\d\d)|35\d\d)"
        rf"({GAP}?)\d{{4}}\1\d{{4}}\1\d{{4}}|62\d\d({GAP}?)\d{{4}}\2\d{{4}}\2\d{{4}}(?:\2\d{{1,3}})?|"
        rf"3[47]\d\d({GAP}?)\d{{6}}\3\d{{5}}|3(?:0[0-5]|[68]\d)\d({GAP}?)(?:\d{{6}}\4\d{{4}}|\d{{4}}\4\d{{4}}\4\d\d))"
        r"(?![\w\-]|[.,]\d)",
        "[card number]", (r"\d\d\d\d[\d \-]\d\d\d", r"\d\d\d\d[\xc2\xe2]"), card_number,
    ),
    Detector(
        "iban", r"(?:^|[^A-Za-z0-9])(?:[A-Z]{2}\d\d ?[0-9A-Z]{4} ?[0-9A-Z]{4}|"
        r"[a-z]{2}\d\d ?[0-9a-z]{4} ?[0-9a-z]{4} ?[0-9a-z]{3})",
        r"(?<![A-Za-z0-9])(?:[A-Z]{2}\d\d(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?|"
        r"[a-z]{2}\d\d(?: ?[a-z0-9]{4}){2,7}(?: ?[a-z0-9]{1,3})?)(?![A-Za-z0-9])", "[IBAN]",
        (r"[^A-Za-z0-9][A-Za-z][A-Za-z]\d\d[ A-Za-z0-9]",), iban,
    ),
    Detector(
        "phone", r"[+][1-9]\d|[(]\d{3}[)] ?\d{3}-|\d{3}-\d{3}-\d{4}",
        r"(?<![\w.+\-*/=^,])(?:\+[1-9]\d{0,2}[ .\-]?(?:\(\d{1,4}\)[ .\-]?)?\d{1,4}(?:[ .\-]?\d{2,4}){2,5}|"
        r"\(\d{3}\) ?\d{3}-\d{4}|\d{3}-\d{3}-\d{4})(?![\w\-]|[.,]\d)", "[phone number]",
        (r"\+[1-9]\d", r"\(\d\d\d\)", r"\d\d\d-\d\d\d"), phone_number,
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
        self.signs = {f"{detector.kind} {number}": detector.signs for number, detector in enumerate(detectors)}
        self._hint = "|".join(detector.hint for detector in detectors)
        self._patterns = [(detector, re.compile(detector.pattern, re.ASCII)) for detector in detectors]

    def apply(self, column: pa.Array, suspects: np.ndarray | None = None) -> Masked:
        """The column masked. suspects: where each of `signs` is borne, (D, N), if that is known."""
        finds = {kind: np.zeros(len(column), np.int64) for kind in self.kinds}
        if not self.kinds:
            return Masked(column, finds)
        if suspects is None:
            some = np.array(pc.match_substring_regex(column, self._hint))
            suspects = np.broadcast_to(some, (len(self._patterns), len(column)))
        hinted = np.array([
            _matching(column, some, detector.hint) for (detector, _), some in zip(self._patterns, suspects, strict=True)
        ])  # fmt: skip

        def masked(part: pa.Array) -> pa.Array:
            texts = dict(zip(np.flatnonzero(hinted.any(0)).tolist(), part.to_pylist(), strict=True))
            for (detector, pattern), here in zip(self._patterns, hinted, strict=True):
                for row in np.flatnonzero(here).tolist():
                    texts[row], count = mask(texts[row], detector, pattern)
                    finds[detector.kind][row] += count
            return pa.array(texts.values(), column.type)

        return Masked(rewrite(column, pa.array(hinted.any(0)), masked), finds)


def _matching(column: pa.Array, some: np.ndarray, pattern: str) -> np.ndarray:
    """True for each text, (N,), of some in which a pattern matches."""
    found = some.copy()
    found[some] = np.array(pc.match_substring_regex(column.take(pa.array(np.flatnonzero(some))), pattern))
    return found


def without_addresses(sources: pa.ChunkedArray) -> pa.ChunkedArray:
    """Addresses of documents with the e-mail addresses in them replaced by a pseudonym, the same for the same address,
    so that two documents of two people keep two addresses."""
    named = pc.match_substring_regex(sources, AT)
    if not pc.any(named).as_py():
        return sources
    (detector,) = (detector for detector in DETECTORS if detector.kind == "email")
    pattern = re.compile(detector.pattern, re.ASCII)

    def pseudonym(found: re.Match[str]) -> str:
        whole, value = found.group(), found["value"]
        digest = xxhash.xxh3_64_hexdigest(value.replace("%40", "@").lower().encode())
        return whole if not mailbox(found) else f"{whole[: len(whole) - len(value)]}{digest}@example.com"

    told = [pattern.sub(pseudonym, source) if at else source for source, at in zip(
        sources.to_pylist(), named.to_pylist(), strict=True)]  # fmt: skip
    return pa.chunked_array([pa.array(told, sources.type)])


def mask(text: str, detector: Detector, pattern: re.Pattern[str]) -> tuple[str, int]:
    """The text with what one detector finds masked, and how many finds there were (masks themselves are none)."""
    pieces, end = [], 0
    count = 0
    for found in pattern.finditer(text):
        begin = found.start("value") if "value" in pattern.groupindex else found.start()
        length = detector.proof(found) if detector.proof else len(found.group())
        if length and text[begin : found.start() + length] != detector.mask:
            pieces += [text[end:begin], detector.mask]
            end = found.start() + length
            count += 1
    return ("".join([*pieces, text[end:]]), count) if count else (text, 0)
