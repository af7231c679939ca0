"""Every rule drops a bad text for its own reason, and keeps a good one."""

import numpy as np
import pyarrow as pa
import pytest

from tasks.text.features import Features
from tasks.text.rules import LIMIT_OF, REASONS, RULES, RuleLimits, first_reasons
from tasks.text.spans import TextBatch
from tasks.text.undesirable import UndesirableWords

OFF = RuleLimits(max_broken=None, max_unbroken=None, max_undesirable=None)
PROSE = ("The river that runs to the east of the old town is wide, and the people have to cross it with a boat. "
         "In spring it floods the lower fields; farmers wait for the water to fall before they sow. "
         "Nobody remembers when the first bridge was built, or why it was taken down again.")  # fmt: skip

# reason: (limit, bad, good)
CASES: dict[str, tuple[float, str, str]] = {
    "too_short": (20, "Returns a copy.", PROSE),
    "too_long": (500, PROSE * 3, PROSE),
    "few_words": (3, "Calculate checksum.", "Calculate the checksum."),
    "broken_encoding": (0.01, "caf\ufffd au lait", PROSE + " caf\ufffd"),
    "few_letters": (0.5, "1.5 -> 2.5; [0, 1, 2] != {}", PROSE),
    "mostly_digits": (0.3, "2013-01-01 00:00:00 value 17.25", PROSE + " It was 1815."),
    "short_words": (2.5, "a b c d e f of x y", PROSE),
    "long_words": (12, "pyspark.ml.classification.LinearSVCModel pyspark.ml.feature.VectorAssembler", PROSE),
    "wordless": (0.65, "a = 1 + 2 * 3 - 4 / b", PROSE),
    "unbroken_text": (0.3, "key: " + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo" * 4,
                      "See https://example.org/" + "a/" * 60 + " long.dotted.name" * 9),
    "symbols": (0.1, "# one\n# two\n# three ... and more …", "Issue #5 is closed, and the rest of them is open still."),
    "braces": (0.02, "function f() { if (x) { return {}; } }", PROSE + " {}"),
    "bullets": (0.9, "- one thing\n• another thing\n* a third", "Things:\n- one thing\n- another\n--- and so on"),
    "ellipses": (0.3, "The first...\nThe second…\nThe third...\nDone.", "The first...\nThe second.\nThird.\nDone."),
    "no_sentences": (0.12, "Home\nAbout\nContact\nSign in", "Home\nThis is a sentence.\n“So is this.”"),
    "short_lines": (0.67, "Home\nAbout us\nContact\n" + PROSE, PROSE + "\nEnd"),
    "repeated_lines": (0.3, "Share this page with your friends today.\n" * 6, PROSE.replace(". ", ".\n")),
    "repeated_words": (0.3, "buy the best shoes here now " * 8, PROSE),
    "many_words": (60, PROSE * 2, PROSE),
    "few_sentences": (3, "Home. About us\nContact v1.2.3 (see below.com)", PROSE),
    "lorem_ipsum": (0, "Our team\nLorem ipsum dolor sit amet, consectetur", "Lorem and ipsum are words. " + PROSE),
    "lines_repeated": (0.3, "Read more\nSign in\n" * 20, PROSE.replace(". ", ".\n")),
    "repeated_paragraphs": (0.2, (PROSE + "\n\n") * 2 + "End.", PROSE.replace(". ", ".\n\n")),
    "paragraphs_repeated": (0.3, PROSE + "\n\nShare this." * 4, PROSE.replace(". ", ".\n\n")),
    "top_2_words": (0.2, "cheap flights to Rome, cheap flights to Oslo, cheap flights to Bonn, " * 3, PROSE),
    "top_3_words": (0.18, "cheap flights to Rome, cheap flights to Oslo, cheap flights to Bonn, " * 3, PROSE),
    "top_4_words": (0.16, "find cheap flights to Rome or find cheap flights to Oslo " * 3, PROSE),
    **{f"repeated_{size}_words": (0.2 - size / 100, PROSE + "\n" + PROSE, PROSE) for size in range(5, 11)},
    "no_stop_words": (2, " ".join(f"keyword{chr(97 + i % 26)} list" for i in range(40)), PROSE),
    "few_stop_words": (2, " ".join(f"the {chr(97 + i % 26)} list" for i in range(40)), PROSE),
    "undesirable": (1, "Hot PORN and online casino bonus.", "A paper on porn filters. " + PROSE),
}  # fmt: skip


def judge(texts: list[str], limits: RuleLimits, english: bool = True) -> list[str | None]:
    undesirable = UndesirableWords().counts(pa.array(texts, pa.large_string()))
    found = first_reasons(Features(TextBatch(texts)), limits, np.full(len(texts), english), undesirable)
    return [None if index < 0 else REASONS[index] for index in found.reasons]


def only(reason: str, limit: float) -> RuleLimits:
    return OFF.model_copy(update={LIMIT_OF[reason]: limit, "stop_words_from": 20})


def test_every_rule_has_a_case():
    assert set(CASES) == set(LIMIT_OF)


@pytest.mark.parametrize("reason", LIMIT_OF)
def test_a_bad_text_is_dropped_for_this_reason_and_a_good_one_kept(reason):
    limit, bad, good = CASES[reason]
    assert judge([good, bad, good], only(reason, limit)) == [None, reason, None]
    assert judge([bad], OFF) == [None]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_neighbours_in_a_batch_do_not_matter(rule):
    limit = CASES[rule.name][0]
    texts = [text for _, bad, good in CASES.values() for text in (bad, good, "", "。…é", "...", ".", "http://x", "::")]
    one_by_one = [judge([text], only(rule.name, limit))[0] for text in texts]
    assert judge(texts, only(rule.name, limit)) == one_by_one


def test_the_first_rule_broken_is_the_reason():
    assert judge(["1 2"], RuleLimits(min_chars=20, min_words=5)) == ["too_short"]


def test_scripts_without_spaces_count_characters_as_words():
    chinese = "机器学习是人工智能的一个分支。它研究计算机怎样模拟或实现人类的学习行为，以获取新的知识或技能。"
    assert judge([chinese], RuleLimits(min_words=20, min_word_chars=3, max_word_chars=10, max_unbroken=0.1)) == [None]


def test_other_languages_need_no_english_stop_words():
    german = "Der Fluss, der östlich der Altstadt fließt, ist breit, und man muss ihn mit einem Boot überqueren. " * 2
    limits = only("no_stop_words", 2)
    assert judge([german], limits, english=False) == [None]
    assert judge([german], limits, english=True) == ["no_stop_words"]


def test_undesirable_words_are_whole_words_in_any_case_and_can_be_added():
    counts = UndesirableWords(["Ärger", "c++"]).counts(
        pa.array(["Scunthorpe sluts slut", "ärger Ärgernis ÄRGER", "in c++ only", "spice"], pa.large_string())
    )
    assert counts.tolist() == [2, 2, 1, 0]
