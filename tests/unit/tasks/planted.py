"""Personal data that is valid but nobody's, for tests to plant in texts."""

import random
import re
import string
from functools import cache

import pyarrow as pa
from hypothesis import strategies as st

from tasks.text.personal_data import IBAN_LENGTHS, KINDS, PersonalDataMask, luhn

mask_for = cache(PersonalDataMask)


def apply(text: str, kinds=KINDS) -> tuple[str, dict[str, int]]:
    masked = mask_for(tuple(kinds)).apply(pa.array([text], pa.large_string()))
    return masked.texts[0].as_py(), {kind: int(counts[0]) for kind, counts in masked.finds.items()}


def with_check_digit(body: str) -> str:
    return next(body + digit for digit in "0123456789" if luhn(body + digit))


def with_check_digits(country: str, account: str) -> str:
    number = int("".join(str(int(character, 36)) for character in f"{account}{country}00"))
    return f"{country}{98 - number % 97:02d}{account}"


digits = st.text("0123456789", min_size=15, max_size=15)
cards = st.builds(
    lambda head, body, gap: gap.join(re.findall("....", with_check_digit((head + body)[:15]))),
    st.sampled_from(["4", "51", "55", "2300", "6011", "35", "62"]), digits, st.sampled_from(["", " ", "-", "\u00a0"]),
).filter(lambda number: len({*number} - {" ", "-", "\u00a0"}) > 2)  # fmt: skip
ibans = st.sampled_from(sorted(IBAN_LENGTHS)).flatmap(
    lambda country: st.builds(
        with_check_digits, st.just(country),
        st.text("0123456789ABCXYZ", min_size=IBAN_LENGTHS[country] - 4, max_size=IBAN_LENGTHS[country] - 4),
    )
)  # fmt: skip
emails = st.from_regex(r"\A[a-zé][a-z0-9.]{0,8}[a-zü_]@[a-zö]{2,9}\.(com|org|net)\Z").filter(
    lambda address: address != "name@example.com"
)
LETTERS = string.ascii_letters
tokens = st.tuples(
    st.sampled_from([("ghp_", LETTERS + string.digits, 36), ("hf_", LETTERS, 34), ("sk_live_", LETTERS, 24),
                     ("sk-", LETTERS + string.digits, 48), ("npm_", LETTERS + string.digits, 36),
                     ("AKIA", string.ascii_uppercase + "234567", 16)]),
    st.integers(0, 1 << 32),
).map(lambda drawn: drawn[0][0] + "".join(random.Random(drawn[1]).choices(drawn[0][1], k=drawn[0][2])))  # fmt: skip
addresses = st.tuples(*[st.integers(11, 99)] * 4).map(lambda parts: ".".join(map(str, parts)))
planted = st.one_of(cards, ibans, emails, tokens, addresses)
around = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
