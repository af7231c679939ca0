"""Personal data that is valid but nobody's, for tests to plant in texts."""

import re

import pyarrow as pa
from hypothesis import strategies as st

from tasks.text.personal_data import IBAN_LENGTHS, KINDS, PersonalDataMask, luhn


def apply(text: str, kinds=KINDS) -> tuple[str, dict[str, int]]:
    masked = PersonalDataMask(kinds).apply(pa.array([text], pa.large_string()))
    return masked.texts[0].as_py(), {kind: int(counts[0]) for kind, counts in masked.finds.items()}


def with_check_digit(body: str) -> str:
    return next(body + digit for digit in "0123456789" if luhn(body + digit))


def with_check_digits(country: str, account: str) -> str:
    number = int("".join(str(int(character, 36)) for character in f"{account}{country}00"))
    return f"{country}{98 - number % 97:02d}{account}"


digits = st.text("0123456789", min_size=15, max_size=15)
cards = st.builds(
    lambda head, body, gap: gap.join(re.findall("....", with_check_digit((head + body)[:15]))),
    st.sampled_from(["4", "51", "55", "2300", "6011", "35"]), digits, st.sampled_from(["", " ", "-"]),
).filter(lambda number: len({*number} - {" ", "-"}) > 2)  # fmt: skip
ibans = st.sampled_from(sorted(IBAN_LENGTHS)).flatmap(
    lambda country: st.builds(
        with_check_digits, st.just(country),
        st.text("0123456789ABCXYZ", min_size=IBAN_LENGTHS[country] - 4, max_size=IBAN_LENGTHS[country] - 4),
    )
)  # fmt: skip
emails = st.from_regex(r"\A[a-z][a-z0-9.]{0,8}[a-z]@[a-z]{2,9}\.(com|org|net)\Z").filter(
    lambda address: address != "name@example.com"
)
tokens = st.builds(
    lambda prefix, body: prefix + body,
    st.sampled_from(["ghp_", "hf_", "sk_live_", "sk-", "npm_"]),
    st.text("abcdefghijkABCDEFGHIJK0123456789", min_size=36, max_size=36).filter(
        lambda body: len(set(body)) >= 8 and re.search(r"\d", body)
    ),
)
addresses = st.tuples(*[st.integers(11, 99)] * 4).map(lambda parts: ".".join(map(str, parts)))
planted = st.one_of(cards, ibans, emails, tokens, addresses)
around = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
