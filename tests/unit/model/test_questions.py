import json

import pytest

from model.errors import InputError
from model.questions import FORMS, Choice, Question, parse_choice, parse_question, read_rows

GOOD = {"prompt": "2 + 2 =", "choices": ["3", "4"], "answer": 1}


def written(folder, *lines):
    path = folder / "rows.jsonl"
    path.write_bytes(
        b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    )
    return path


def test_the_documented_forms_are_read():
    lines = [line[line.index("{") :] for line in FORMS.splitlines() if "{" in line]
    assert parse_choice(json.loads(lines[0])) == Choice("The capital of France is", ("Rome", "Paris"), 1)
    assert parse_question(json.loads(lines[1])) == Question("What is the capital of France?", ("Paris",))
    assert parse_question({"prompt": "", "answer": ["a", " b "], "id": 7}) == Question("", ("a", "b"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"[1]", "it is not a JSON object"),
        (b'"\xff"', "it is not UTF-8"),
        ({**GOOD, "prompt": None}, "prompt is not a text"),
        ({**GOOD, "prompt": "half \ud800"}, "prompt is not a text"),
        ({**GOOD, "choices": ["4"]}, "choices is not a list of at least two texts"),
        ({**GOOD, "choices": "34"}, "choices is not a list of at least two texts"),
        ({**GOOD, "choices": ["3", ""]}, "choices is not a list of at least two texts"),
        ({**GOOD, "choices": ["3", 4]}, "choices is not a list of at least two texts"),
        ({**GOOD, "answer": 2}, "answer is not the number of a choice, counted from 0"),
        ({**GOOD, "answer": -1}, "answer is not the number of a choice, counted from 0"),
        ({**GOOD, "answer": True}, "answer is not the number of a choice, counted from 0"),
        ({**GOOD, "answer": "1"}, "answer is not the number of a choice, counted from 0"),
    ],
)
def test_a_malformed_choice_is_left_out_and_counted_by_its_reason(tmp_path, line, reason):
    found = read_rows(written(tmp_path, GOOD, b"", line, line, GOOD), parse_choice)
    assert (found.rows, found.lines) == ([Choice("2 + 2 =", ("3", "4"), 1)] * 2, [1, 5])
    assert found.left_out == {reason: 2}
    assert found.reasons() == f"2 × {reason} (first in line 3)"


@pytest.mark.parametrize("answer", [None, 4, "", "  ", [], ["a", None], ["a", " "], {"a": 1}])
def test_a_malformed_question_is_left_out_and_counted(tmp_path, answer):
    path = written(tmp_path, {"prompt": "p", "answer": answer}, {"prompt": "p", "answer": "a"})
    found = read_rows(path, parse_question)
    assert found.rows == [Question("p", ("a",))]
    assert found.left_out == {"answer is neither a text nor a list of texts": 1}


def test_a_file_without_one_row_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no row that can be used \(1 × it is not JSON \(first in line 1\)\)"):
        read_rows(written(tmp_path, b"{"), parse_choice)
    with pytest.raises(InputError, match="it is empty"):
        read_rows(written(tmp_path), parse_choice)
    with pytest.raises(InputError, match="does not exist"):
        read_rows(tmp_path / "missing.jsonl", parse_choice)


def test_rows_that_do_not_fit_leave_and_are_counted(tmp_path):
    found = read_rows(written(tmp_path, GOOD, {**GOOD, "prompt": "longer"}, GOOD), parse_choice)
    found.keep([True, False, True], "it is too long")
    assert [row.prompt for row in found.rows] == ["2 + 2 ="] * 2
    assert (found.lines, found.reasons()) == ([1, 3], "1 × it is too long (first in line 2)")
    with pytest.raises(InputError, match="no row can be used"):
        found.keep([False, False], "it is too long")
