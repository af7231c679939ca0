"""Questions about documented objects: one good and one bad object for each rule, and the reason."""

import pytest

from tasks.text import questions
from tasks.text.docstrings import DocumentedObject
from tasks.text.questions import QUESTIONS, AnswerLimits, Question, answer, ask, prompt, words

LIMITS = AnswerLimits(min_chars=20, max_chars=120, min_overlap=1 / 3)
GOOD = "Merge two tables on a key column."


def an_object(docstring=GOOD, qualname="Table.merge", kind="method", parameters=("right", "key")):
    return DocumentedObject(qualname, kind, ", ".join(parameters), parameters, docstring)


def test_a_good_object_gives_a_question_that_shows_name_parameters_and_place():
    asked = ask(an_object(), "frames._core.table", LIMITS)
    assert isinstance(asked, Question)
    assert "`Table.merge(right, key)`" in asked.prompt
    assert "frames.table" in asked.prompt
    assert asked.response == GOOD


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"qualname": "Table._merge"}, questions.PRIVATE),
        ({"docstring": "Merge tables."}, questions.TOO_SHORT),
        ({"docstring": "Table.merge_with_key_columns."}, questions.TOO_SHORT),
        ({"docstring": "Merge tables " + "by their key " * 12}, questions.TOO_LONG),
        ({"docstring": "Merge two tables – on a key column."}, questions.NOT_PLAIN),
        ({"docstring": "Deprecated since 2.0: merge two tables by key."}, questions.BOILERPLATE),
        ({"docstring": "See `pandas.merge` for merging tables by key."}, questions.BOILERPLATE),
        ({"docstring": "This method is where tables merge on a key."}, questions.BOILERPLATE),
        ({"docstring": "right (Table): the table whose key to merge on."}, questions.NOT_PROSE),
        ({"docstring": "merge(right, key) -> Table merged by the key"}, questions.NOT_PROSE),
        ({"docstring": "Merge tables by key, see https://example.org/merge"}, questions.NOT_PROSE),
        ({"docstring": "Merge the following tables by their key:"}, questions.NOT_PROSE),
        ({"docstring": "Walk over every pending animal and feed it."}, questions.UNRELATED),
    ],
)
def test_each_rule_gives_its_reason(changed, reason):
    assert ask(an_object(**changed), "frames.table", LIMITS) == reason


def test_overlap_zero_still_asks_for_one_shared_word():
    lenient = AnswerLimits(20, 120, 0.0)
    barely = an_object("Walk over every pending animal and feed the right one.")
    assert isinstance(ask(barely, "frames.table", lenient), Question)
    assert ask(barely, "frames.table", LIMITS) == questions.UNRELATED


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("merge two tables", "Merge two tables."),
        ("Return a :class:`~frames.Table` of ``rows``.", "Return a `Table` of `rows`."),
        ("Return a [`~hub.ModelCard`] or `text <https://x.org>`_.", "Return a `ModelCard` or text."),
        ("First sentence. Second one.", "First sentence."),
        ("Works with paths, e.g. Windows ones. Second.", "Works with paths, e.g. Windows ones."),
        ("Check it. :param x: what\n:return: that", "Check it."),
        ("Check it Args: x: what", "Check it."),
        ("Two\nlines of *one*\nsentence\n\nAnd more.", "Two lines of one sentence."),
        ("merge_tables merges them", "merge_tables merges them."),
        ("", ""),
        (":param x: what", ""),
    ],
)  # fmt: skip
def test_answers_are_the_first_sentence_in_plain_text(docstring, expected):
    assert answer(docstring) == expected


def test_many_parameters_are_cut_and_long_places_shortened():
    many = an_object(parameters=("args", *"abcdefgh", "kwargs"))
    assert "`Table.merge(a, b, c, d, e, f, ...)`" in prompt(many, "frames.table")
    place = "frames.a_module_whose_name_is.rather.too.long.to.show"
    assert " frames " in prompt(many, place).replace(",", " ").replace("?", " ") and place not in prompt(many, place)


def test_the_question_is_fixed_by_the_name_and_all_of_them_occur():
    names = [f"f{number}" for number in range(60)]
    asked = {prompt(an_object(qualname=name, kind="function"), "m").replace(name, "NAME") for name in names}
    assert len(asked) == len(QUESTIONS["function"])
    assert prompt(an_object(), "m") == prompt(an_object("Another docstring."), "m")


@pytest.mark.parametrize("kind", QUESTIONS)
def test_every_kind_of_object_can_be_asked_about(kind):
    text = prompt(an_object(qualname="" if kind == "module" else "Table", kind=kind, parameters=()), "frames.table")
    assert "`" in text and "{" not in text


def test_patterns_are_equal_for_answers_that_differ_in_the_name_only():
    def pattern(name):
        asked = ask(
            an_object(f"Deserializes the {name}Response from a dictionary.", f"{name}Response.from_dict"), "m", LIMITS
        )
        assert isinstance(asked, Question)
        return asked.pattern

    assert pattern("GetUser") == pattern("ListManyClusters") == "deserializes the _ from a dictionary"


def test_words_of_identifiers():
    assert words("MinHashLSH.get_counts2 HTTPServer") == ["min", "hash", "lsh", "get", "counts", "2", "http", "server"]
