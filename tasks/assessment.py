"""What answers to questions are worth: reward, gold score, length and repetition, one way for training and held-out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.answers import answer_text, encode_answer, is_finished, score_answers
from model.bootstrap import bootstrap_interval
from model.generation import generate
from model.precision import Precision
from model.sampling import Sampling
from model.scalar import ScalarModel
from model.tokenizer import Tokenizer
from model.transformer import Transformer
from tasks.rater import Answer, ReferenceRater, repetition


@dataclass(frozen=True)
class Question:
    """A prompt, its token ids in the chat format, and the answer a person gave."""

    prompt: str
    ids: list[int]
    human: str


@dataclass(frozen=True)
class Assessment:
    """Answers with what they are worth, each an array (N,) in the order of the answers.

    gold is the rater's score against the human answer, so with the default rater a stand-in for people; reward is
    the reward model's; length counts tokens without the end mark; repetition is the share of repeated word pairs.
    """

    texts: list[str]
    reward: NDArray[np.float64]
    gold: NDArray[np.float64]
    length: NDArray[np.float64]
    repetition: NDArray[np.float64]


@dataclass(frozen=True)
class Assessor:
    """Scores answers with the reward model and with the rater that made the rankings."""

    tokenizer: Tokenizer
    reward_model: ScalarModel
    rater: ReferenceRater
    precision: Precision

    def assess(self, questions: Sequence[Question], responses: Sequence[Sequence[int]]) -> Assessment:
        """The worth of one response (ids, with the end mark where there is one) to each question."""
        texts = [answer_text(self.tokenizer, ids) for ids in responses]
        finished = [is_finished(self.tokenizer, ids) for ids in responses]
        ratings = self.rater.rate_all(
            [Answer(text, "model", ended) for text, ended in zip(texts, finished, strict=True)],
            [question.human for question in questions],
        )
        return Assessment(
            texts=texts,
            reward=self.rewards(questions, texts, finished).double().numpy(),
            gold=np.array([rating.score for rating in ratings]),
            length=np.array([len(ids) - ended for ids, ended in zip(responses, finished, strict=True)], dtype=float),
            repetition=np.array([repetition(text) for text in texts]),
        )

    def rewards(self, questions: Sequence[Question], texts: Sequence[str], finished: Sequence[bool]) -> Tensor:
        """The reward model's score (N,) of each text."""
        max_tokens = self.reward_model.config.max_position_embeddings
        rows = [
            encode_answer(self.tokenizer, question.prompt, text, finished=ended, max_tokens=max_tokens)
            for question, text, ended in zip(questions, texts, finished, strict=True)
        ]
        return score_answers(self.reward_model, rows, pad_token_id=self.tokenizer.pad_id, precision=self.precision)


def answer_questions(
    model: Transformer,
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    samples: int = 1,
) -> list[list[int]]:
    """`samples` responses to each question, those of one question together: question 0, 0, …, 1, 1, …

    Two models asked with one seed get the same random numbers, so their difference varies less than either."""
    return generate(
        model,
        [question.ids for question in questions for _ in range(samples)],
        max_new_tokens=max_new_tokens,
        sampling=Sampling(temperature),
        eos_token_id=tokenizer.im_end_id,
        pad_token_id=tokenizer.pad_id,
        seed=seed,
        batch_size=128,
    )


def mean_by_question(values: NDArray[np.float64], samples: int) -> NDArray[np.float64]:
    """(N·samples,) → (N,): a question is the unit of every interval, however often it was answered."""
    return values.reshape(-1, samples).mean(axis=1)


def with_interval(name: str, values: NDArray[np.float64], seed: int) -> dict[str, float]:
    """The mean of values (N,) and its 95% bootstrap interval under `name`, `name`_low and `name`_high."""
    interval = bootstrap_interval(values, seed)
    return interval.metrics(name)


def compare(
    aligned: dict[str, NDArray[np.float64]], finetuned: dict[str, NDArray[np.float64]], seed: int
) -> dict[str, float]:
    """Figures of two models on the same questions: eval/X, eval/X_sft, and the paired difference eval/X_gain."""
    figures: dict[str, float] = {}
    for name, ours in aligned.items():
        figures |= with_interval(f"eval/{name}", ours, seed)
        figures |= with_interval(f"eval/{name}_sft", finetuned[name], seed)
        figures |= with_interval(f"eval/{name}_gain", ours - finetuned[name], seed)
    return figures


def flat(sampled: Assessment, greedy: Assessment, samples: int) -> dict[str, NDArray[np.float64]]:
    """The figures by name, each (N,): sampled under the plain names, greedy under …_greedy."""
    names = ("reward", "gold", "length", "repetition")
    plain = {name: mean_by_question(getattr(sampled, name), samples) for name in names}
    return plain | {f"{name}_greedy": getattr(greedy, name) for name in names}
