"""Which pairs are kept, and for what: each prompt and each answer once, and a split that nothing leaks across."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tasks.text.splits import EVALUATION, choose

REPEATED_PROMPT = "repeated_prompt"
REPEATED_RESPONSE = "repeated_response"
TEMPLATE = "answer_template"
ABOVE_MAX = "above_max_pairs"
_FIXED_WORDS = 4  # an answer is a template if so many words of it do not come from the object's name
_SHORT_ANSWER = 3  # words


@dataclass(frozen=True)
class Candidate:
    """A pair that passed its own rules, and the row it stands in. ``pattern`` is None for users' own pairs."""

    row: int
    pair_id: str
    prompt: str
    response: str
    pattern: str | None
    evaluation: bool


@dataclass
class Choice:
    """``splits``: row → split of the kept; ``dropped``: row → (reason, pair_id kept in its place or None)."""

    splits: dict[int, str] = field(default_factory=dict)
    dropped: dict[int, tuple[str, str | None]] = field(default_factory=dict)


def normalised(text: str) -> str:
    """Text for telling whether two are the same: words only, lower case. Text without any word stays as it is."""
    return " ".join(re.findall(r"\w+", text.casefold())) or text


def decide(
    candidates: Sequence[Candidate], shares: Mapping[str, float], seed: int, max_template: int, max_pairs: int | None
) -> Choice:
    """Keep each prompt and each answer once, at most ``max_template`` answers of one pattern, and ``max_pairs`` in all.

    Of several, those for evaluation come first (so that no answer there is also an answer in training), then the
    smallest pair_id, which is a hash. The split is decided by the hash of the prompt alone. Answers of up to three
    words, such as "Yes", may repeat: that is what classifying looks like.
    """
    choice = Choice()
    prompts: dict[str, str] = {}
    responses: dict[str, str] = {}
    patterns: Counter[str] = Counter()
    kept: list[Candidate] = []
    for pair in sorted(candidates, key=lambda pair: (not pair.evaluation, pair.pair_id, pair.row)):
        prompt, response = normalised(pair.prompt), normalised(pair.response)
        if prompt in prompts:
            choice.dropped[pair.row] = (REPEATED_PROMPT, prompts[prompt])
        elif response in responses:
            choice.dropped[pair.row] = (REPEATED_RESPONSE, responses[response])
        elif pair.pattern is not None and _is_template(pair.pattern) and patterns[pair.pattern] >= max_template:
            choice.dropped[pair.row] = (TEMPLATE, None)
        else:
            prompts[prompt] = pair.pair_id
            if len(response.split()) > _SHORT_ANSWER:
                responses[response] = pair.pair_id
            kept.append(pair)
            patterns[pair.pattern or ""] += 1
            choice.splits[pair.row] = EVALUATION if pair.evaluation else choose(seed, prompt, shares)
    if max_pairs is not None:
        for pair in sorted(kept, key=lambda pair: pair.pair_id)[max_pairs:]:
            del choice.splits[pair.row]
            choice.dropped[pair.row] = (ABOVE_MAX, None)
    return choice


def _is_template(pattern: str) -> bool:
    return sum(word != "_" for word in pattern.split()) >= _FIXED_WORDS
