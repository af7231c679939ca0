"""Every shape of pairs, and what is said about a row that has none."""

import json
from pathlib import Path

import pytest

from tasks.text.pair_shapes import pairs_of

DATA = Path(__file__).parents[5] / "shared" / "data"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"prompt": " p ", "response": "r\n"}, [("p", "r")]),
        ({"prompt": "p", "completion": "r"}, [("p", "r")]),
        ({"prompt": "p", "chosen": "r", "rejected": "x"}, [("p", "r")]),
        ({"question": "p", "answer": "r"}, [("p", "r")]),
        ({"instruction": "p", "output": "r"}, [("p", "r")]),
        ({"instruction": "p", "input": "", "output": "r"}, [("p", "r")]),
        ({"instruction": "p", "input": "i", "output": "r"}, [("p\n\ni", "r")]),
        ({"instruction": "p", "context": "i", "response": "r"}, [("p\n\ni", "r")]),
        ({"instruction": "p", "instances": [{"input": "1", "output": "a"}, {"input": "2", "output": "b"}]},
         [("p\n\n1", "a"), ("p\n\n2", "b")]),
        ({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "p"},
                       {"role": "assistant", "content": "r"}, {"role": "user", "content": "more"}]}, [("s\n\np", "r")]),
        ({"conversations": [{"from": "human", "value": "p"}, {"from": "gpt", "value": "r"}]}, [("p", "r")]),
        ({"chosen": "\n\nHuman: p\n\nAssistant: r\n\nHuman: q\n\nAssistant: s", "rejected": "x"}, [("p", "r")]),
        ({"chosen": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}]}, [("p", "r")]),
    ],
)  # fmt: skip
def test_shapes(fields, expected):
    assert pairs_of(fields) == expected


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "no pair in its fields (none)"),
        ({"text": "t"}, "no pair in its fields (text); give prompt and response"),
        ({"prompt": "p", "response": None}, "no pair in its fields (prompt, response)"),
        ({"prompt": "p", "response": " "}, "an empty prompt or response"),
        ({"instruction": "p"}, "an instruction without an output"),
        ({"instances": []}, "instances without an instruction"),
        ({"instruction": "p", "instances": ["x"]}, "an instance without an output"),
        ({"instruction": "p", "instances": []}, "a list without any pair"),
        ({"messages": []}, "messages that do not begin"),
        ({"messages": [{"role": "assistant", "content": "r"}]}, "messages that do not begin"),
        ({"messages": ["hello"]}, "a message without 'role' and 'content'"),
        ({"chosen": "just text"}, "a transcript that does not begin"),
    ],
)
def test_rows_without_a_pair_are_told_why(fields, reason):
    found = pairs_of(fields)
    assert isinstance(found, str) and reason in found


@pytest.mark.parametrize("name", ["gsm8k/train.jsonl", "self-instruct/seed_tasks.jsonl"])
def test_every_row_of_a_real_data_set_gives_pairs(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert rows and all(isinstance(pairs_of(row), list) for row in rows)
