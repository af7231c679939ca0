"""The course: which stage takes what from which. Nothing is computed here, and nothing here knows of servers.

Inside a Prefect flow each call below is a task; outside one (in a test, in a notebook) it is a plain call.
"""

from dataclasses import dataclass

from flows.classifiers import classifiers
from flows.latest import named
from flows.settings import Adopted, Settings
from tasks.clean import clean
from tasks.collect import collect
from tasks.decontaminate import decontaminate
from tasks.deduplicate import deduplicate
from tasks.evaluate import evaluate
from tasks.finetune import finetune
from tasks.forget.exclusions import current
from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import StoreError
from tasks.lineage.store import Store
from tasks.mix import mix
from tasks.pair import pair
from tasks.ppo import ppo
from tasks.pretrain import pretrain
from tasks.rank import rank
from tasks.reward import reward
from tasks.snapshot import snapshot
from tasks.tokenize import tokenize


@dataclass(frozen=True)
class Data:
    """What the data stages leave for training: text as a corpus and as tokens, and prompt–response pairs.

    collected, cleaned, deduplicated: what the corpus was made from, where the stages were run. tokenized: the tokens
    before they were mixed, where they were.
    """

    corpus: Artifact
    tokens: Artifact
    pairs: Artifact
    collected: Artifact | None = None
    cleaned: Artifact | None = None
    deduplicated: Artifact | None = None
    tokenized: Artifact | None = None


@dataclass(frozen=True)
class Text:
    """What the stages from the outside world to tokens leave; pairs, where they were asked for."""

    collected: Artifact
    cleaned: Artifact
    deduplicated: Artifact
    corpus: Artifact
    tokenized: Artifact
    tokens: Artifact
    pairs: Artifact | None


@dataclass(frozen=True)
class Models:
    """The four models, the rankings that the reward model learned from, and what was measured."""

    pretrained: Artifact
    finetuned: Artifact
    rankings: Artifact
    reward_model: Artifact
    aligned: Artifact
    evaluation: Artifact


ADOPTED = ("text", "pairs", "tokenizer")


def _adopted(kind: str, digest: str | None) -> Artifact | None:
    """What `pedigree adopt` took in and the settings name; None where they name nothing."""
    return named(f"adopt_{kind}", digest).artifact if digest else None


def check_adopted(adopted: Adopted) -> None:
    """Raises StoreError where something adopted that the settings name is gone or damaged, NothingFound where it was
    never adopted."""
    store = Store()
    for kind in ADOPTED:
        if digest := getattr(adopted, kind):
            record = named(f"adopt_{kind}", digest)
            if problems := store.problems(record.output):
                raise StoreError(
                    f"the settings to rebuild with name adopted.{kind} {record.output.digest[:12]}, which is not whole "
                    f"in the store: {'; '.join(problems)}. Nothing was changed. Adopt it again (`pedigree adopt "
                    f"{kind}`) and name what comes of it with --set adopted.{kind}=DIGEST; or rebuild without it: "
                    f"--set adopted.{kind}=null."
                )


def gives_pairs(settings: Settings) -> bool:
    """Whether any source can give prompt–response pairs."""
    of_packages = settings.pair.ask_packages
    sources = settings.snapshot.sources
    given = any(one.role == "pairs" or (one.kind == "packages" and of_packages) for one in sources)
    return given or settings.adopted.pairs is not None


def data_alone(settings: Settings) -> None:
    """The data stages for their own sake: that there is text alone, of which no pairs are made, is no mistake here."""
    text_course(settings, with_pairs=gives_pairs(settings))


def data_course(settings: Settings) -> Data:
    """All data stages. Raises DataError where there is no pair, which fine-tuning and all after it need."""
    text = text_course(settings, with_pairs=True)
    assert text.pairs is not None
    return Data(text.corpus, text.tokens, text.pairs, text.collected, text.cleaned, text.deduplicated, text.tokenized)


def text_course(settings: Settings, with_pairs: bool) -> Text:
    """From the outside world to tokens."""
    resources = settings.resources
    forgotten = current()
    text, more_pairs, tokenizer = (_adopted(kind, getattr(settings.adopted, kind)) for kind in ADOPTED)
    outside = snapshot(config=settings.snapshot, resources=resources)
    collected = collect(
        snapshot=outside, exclusions=forgotten, adopted=text, config=settings.collect, resources=resources
    )
    learned = classifiers(settings.classifiers, forgotten, resources)
    cleaned = clean(corpus=collected, **learned, config=settings.clean, resources=resources)
    deduplicated = deduplicate(corpus=cleaned, config=settings.deduplicate, resources=resources)
    pairs = (
        pair(snapshot=outside, exclusions=forgotten, adopted=more_pairs, config=settings.pair, resources=resources)
        if with_pairs
        else None
    )
    corpus = decontaminate(
        corpus=deduplicated, pairs=pairs, snapshot=outside, config=settings.decontaminate, resources=resources
    )
    tokenized = tokenize(corpus=corpus, tokenizer=tokenizer, config=settings.tokenize, resources=resources)
    tokens = tokenized
    if settings.mix.sources:
        tokens = mix(tokens=tokenized, corpus=corpus, config=settings.mix, resources=resources)
    return Text(collected, cleaned, deduplicated, corpus, tokenized, tokens, pairs)


def pretrain_course(settings: Settings, data: Data) -> Artifact:
    return pretrain(tokens=data.tokens, config=settings.pretrain, resources=settings.resources)


def align_course(settings: Settings, pretrained: Artifact, data: Data) -> Models:
    """From a pretrained model to an aligned one. `data` holds the tokens it was pretrained on, for the evaluation."""
    resources = settings.resources
    finetuned = finetune(model=pretrained, pairs=data.pairs, config=settings.finetune, resources=resources)
    rankings = rank(model=finetuned, pairs=data.pairs, config=settings.rank, resources=resources)
    reward_model = reward(model=finetuned, rankings=rankings, config=settings.reward, resources=resources)
    aligned = ppo(
        model=finetuned, reward_model=reward_model, pairs=data.pairs, config=settings.ppo, resources=resources
    )
    evaluation = evaluate(
        pretrained=pretrained,
        finetuned=finetuned,
        reward_model=reward_model,
        aligned=aligned,
        tokens=data.tokens,
        pairs=data.pairs,
        rankings=rankings,
        corpus=data.corpus,
        config=settings.evaluate,
        resources=resources,
    )
    return Models(pretrained, finetuned, rankings, reward_model, aligned, evaluation)


def train_course(settings: Settings) -> Models:
    data = data_course(settings)
    return align_course(settings, pretrain_course(settings, data), data)
