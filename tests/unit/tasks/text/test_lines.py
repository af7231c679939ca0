"""Lines that limits rule out, and lines that many documents share."""

import time

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tasks.text.lines import SharedLines, drop_lines, without_lines
from tasks.text.rule_presets import C4
from tasks.text.rules import RuleLimits
from tasks.text.spans import TextBatch

FOOTER = "Part of the collection of the society, all volumes."


def column(*texts: str) -> pa.Array:
    return pa.array(texts, pa.large_string())


def lines_of(batch: TextBatch):
    return batch.runs(batch.bytes != ord("\n"))


@given(st.lists(st.text(st.sampled_from("aé\n日"), max_size=12), max_size=5), st.randoms())
def test_without_lines_equals_plain_python(texts, random):
    batch = TextBatch(column(*texts))
    lines = lines_of(batch)
    drop = np.array([random.random() < 0.5 for _ in range(len(lines))], bool)
    expected, number = [], 0
    for text in texts:
        kept = ""
        for line in text.splitlines(keepends=True):
            if line != "\n":
                number += 1
            if line == "\n" or not drop[number - 1]:
                kept += line
        expected.append(kept)
    assert without_lines(batch, lines, drop).to_pylist() == expected


def test_c4_keeps_lines_that_are_sentences():
    text = (
        "Home | About\nThe river is wide and people cross it by boat.\nToo short.\n"
        "This line ends in an ellipsis and goes on...\nThis page needs JavaScript to be enabled in it.\n"
        "She asked: “Where is the bridge that was built?”\nNo end here but many words in it\n"
        "古い橋 は 去年 の 春 に 直された。"
    )
    rest = drop_lines(column(text, ""), C4)
    assert {rule: len(lost.rows) for rule, lost in rest.lost.items()} == {
        "page_line": 1, "no_sentence_line": 3, "few_line_words": 1,
    }  # fmt: skip
    assert rest.lost["page_line"].first(0) == "This page needs JavaScript to be enabled in it."
    assert rest.texts.to_pylist() == [
        "The river is wide and people cross it by boat.\nShe asked: “Where is the bridge that was built?”\n"
        "古い橋 は 去年 の 春 に 直された。",
        "",
    ]
    assert drop_lines(column(text), RuleLimits()).texts.to_pylist() == [text]


NOTICES = [
    "Terms of Use",
    "Privacy Policy · Cookie Policy · Contact us",
    "We use cookies to improve this page.",
    "Accept all cookies",
    "© 2020 The Society. All rights reserved.",
    "All rights reserved",
    "Please enable JavaScript to view the comments.",
    "Skip to main content",
    "See our Privacy Policy and Terms of Service.",
]
SENTENCES = [
    "The terms of use of a service are a contract.",
    "Contact us",
    "Cookies",
    "Our privacy policy is older than the law.",
    "In 1900 the author said that all rights reserved to him were sold.",
    "He wrote JavaScript.",
    "We use cookies to sweeten the long evenings. Then we go to the river.",
]


def test_notices_are_short_lines_that_are_nothing_else():
    found = drop_lines(column(*NOTICES, "\n".join(SENTENCES)), RuleLimits(drop_notices=True))
    assert found.texts.to_pylist() == [""] * len(NOTICES) + ["\n".join(SENTENCES)]
    assert found.lost["notice"].rows.tolist() == list(range(len(NOTICES)))


def shared(texts, groups, documents=3):
    counted = SharedLines(min_chars=20)
    groups = np.array(groups, np.uint64)
    for begin in range(0, len(texts), 2):  # in batches
        counted.add(column(*texts[begin : begin + 2]), groups[begin : begin + 2])
    found = counted.drop(column(*texts), groups, documents)
    return found.texts.to_pylist(), np.bincount(found.lost["shared_line"].rows, minlength=len(texts)).tolist()


def test_lines_that_many_documents_share_are_dropped():
    texts = [f"Text number {n} says this and that.\n{FOOTER}\nshort\nMore of {n}." for n in range(4)]
    expected = [text.replace(FOOTER + "\n", "") for text in texts]
    assert shared(texts, [0] * 4) == (expected, [1] * 4)
    assert shared(texts, [0] * 4, documents=5) == (texts, [0] * 4)


def test_groups_are_counted_apart_and_a_document_once():
    texts = [f"Text {n} of its own.\n{FOOTER}" for n in range(4)]
    assert shared(texts, [1, 2, 1, 2]) == (texts, [0] * 4)
    assert shared([f"{FOOTER}\n" * 9, "x"], [0, 0]) == ([f"{FOOTER}\n" * 9, "x"], [0, 0])


def test_a_long_line_takes_no_longer_than_many_short_ones():
    text = "policy cookie uses " * 20_000 + "\nThis page needs JavaScript."
    began = time.process_time()
    drop_lines(column(text), RuleLimits(drop_page_lines=True))
    assert time.process_time() - began < 5
