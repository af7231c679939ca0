import pyarrow as pa
import pytest

from tasks.contamination import contaminated

TRAINING = [
    "A rose is a rose is a rose, said Gertrude.",
    "The quick brown fox jumps over the lazy dog and then it sleeps until noon.",
]


def found(*texts: str, words: int = 5) -> list[bool]:
    return contaminated(list(texts), [pa.array(TRAINING[:1]), TRAINING[1:]], words).tolist()


def test_a_run_of_words_in_a_training_text_is_found_whatever_case_spacing_and_punctuation() -> None:
    assert found("She saw: QUICK   brown fox, jumps; over it") == [True]
    assert found("quick brown fox jumps under it all") == [False]


def test_a_shorter_text_counts_if_all_of_it_occurs() -> None:
    assert found("lazy dog", "lazy cat", "said Gertrude") == [True, False, True]


def test_a_run_across_two_training_texts_is_none() -> None:
    assert found("said Gertrude the quick") == [False]


def test_a_text_without_words_is_never_contaminated() -> None:
    assert found("", " … ") == [False, False]


@pytest.mark.parametrize("words", [3, 13])
def test_the_length_of_the_run_decides(words: int) -> None:
    assert found("the quick brown dog and then it left us all for good alas", words=words) == [words == 3]


def test_without_training_texts_nothing_is_found() -> None:
    assert contaminated(["a b c"], [], 2).tolist() == [False]
    assert contaminated([], [TRAINING], 2).tolist() == []
