"""Languages are told as py3langid tells them, in measured quality, and texts without one are left undetermined."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from tasks.text.checksums import is_whole
from tasks.text.language import ARRAYS, FILES, identifier, identify, remember, remembered, unpacked

SAMPLE = json.loads((Path(__file__).parent / "samples" / "languages.json").read_text(encoding="utf-8"))
SHORT = [(text, language) for language, texts in SAMPLE.items() for text in texts]
LONG = [(" ".join(texts), language) for language, texts in SAMPLE.items()]


def told(*texts: str) -> list[str | None]:
    return identify(pa.array(texts, pa.large_string())).to_pylist()


@pytest.fixture(scope="module")
def theirs() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@pytest.fixture(scope="module")
def model() -> dict[str, np.ndarray]:
    return unpacked()


def same(texts: list[str], theirs: LanguageIdentifier) -> None:
    found, confidence = identifier().classify(pa.array(texts, pa.large_string()))
    expected = [theirs.classify(text) for text in texts]
    np.testing.assert_allclose(confidence, [certainty for _, certainty in expected], atol=2e-5)
    for name, sure, (other, _) in zip(found.to_pylist(), confidence, expected, strict=True):
        assert name == other or sure < 0.5  # of classes that are as good as equal either may come first


def test_answers_are_those_of_py3langid(theirs):
    same([text for text, _ in SHORT + LONG], theirs)
    same(["", "1 2 3", "ALL IN CAPITALS", "ÄÖ", "Aº", "ÄÖ\u24b6", "x"], theirs)


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), max_size=5))
def test_answers_are_those_of_py3langid_on_any_text(texts, theirs):
    same(texts, theirs)


@pytest.mark.parametrize(("sample", "least"), [(SHORT, 0.97), (LONG, 0.99)], ids=["sentences", "paragraphs"])
def test_precision_and_recall_on_the_labelled_sample(sample, least):
    assert len(SAMPLE) >= 20
    found = told(*(text for text, _ in sample))
    right = sum(language == expected for language, (_, expected) in zip(found, sample, strict=True))
    assert right / len(sample) >= least  # recall
    assert right / sum(language is not None for language in found) >= least  # precision


def test_what_has_no_language_is_undetermined():
    assert told("", "12.5 17 3", "%s %d", "?!") == [None] * 4
    assert told() == []


def test_neighbours_in_a_batch_do_not_matter():
    texts = [text for text, _ in SHORT[:40]]
    assert told(*texts) == [told(text)[0] for text in texts]


@pytest.mark.parametrize("damaged", ["moves.npy", "names.npy", "checksums.json"])
@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_what_is_remembered_of_the_model_is_the_model_and_damage_is_noticed(tmp_path, model, damaged, damage):
    folder = tmp_path / "new" / "model"
    remember(folder, model)
    assert [place.name for place in folder.parent.iterdir()] == [folder.name]
    same_arrays(remembered(folder), model)
    file = folder / damaged
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.unlink()
    if damage != "gone":
        file.write_bytes(data if damage == "changed" else data[: len(data) // 2])
    same_arrays(remembered(folder), model)
    assert is_whole(folder, FILES)  # it was written anew
    same_arrays(remembered(folder), model)
    assert [place.name for place in folder.parent.iterdir()] == [folder.name]


def test_processes_share_what_is_remembered(tmp_path, model):
    remember(tmp_path / "model", model)
    found = remembered(tmp_path / "model")
    assert all(isinstance(array, np.memmap) and not array.flags.writeable for array in found.values())


def test_where_nothing_can_be_remembered_the_model_is_unpacked(tmp_path, model):
    (tmp_path / "file").touch()
    same_arrays(remembered(tmp_path / "file" / "model"), model)


def same_arrays(found, model):
    assert tuple(found) == tuple(model) == tuple(ARRAYS)
    assert all(found[name].dtype == model[name].dtype and np.array_equal(found[name], model[name]) for name in ARRAYS)
