"""The course: which stage takes what from which. Nothing is computed here, and nothing here knows of servers.

Inside a Prefect flow each call below is a task; outside one (in a test, in a notebook) it is a plain call.
"""

from dataclasses import dataclass

from flows.latest import named
from flows.settings import Adopted, Settings
from tasks.clean import clean
from tasks.collect import collect
from tasks.deduplicate import deduplicate
from tasks.evaluate import evaluate
from tasks.finetune import finetune
from tasks.forget.exclusions import current
from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import StoreError
from tasks.lineage.store import Store
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

    collected, cleaned: what the corpus was made from, where the stages were run.
    """

    corpus: Artifact
    tokens: Artifact
    pairs: Artifact
    collected: Artifact | None = None
    cleaned: Artifact | None = None


@dataclass(frozen=True)
class Text:
    """What the stages from the outside world to tokens leave."""

    outside: Artifact
    collected: Artifact
    cleaned: Artifact
    corpus: Artifact
    tokens: Artifact


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
    if gives_pairs(settings):
        data_course(settings)
    else:
        text_course(settings)


def data_course(settings: Settings) -> Data:
    """All data stages. Raises DataError where there is no pair, which fine-tuning and all after it need."""
    more_pairs = _adopted("pairs", settings.adopted.pairs)  # first, since a wrong name is best told at once
    text = text_course(settings)
    pairs = pair(
        snapshot=text.outside, exclusions=current(), adopted=more_pairs, config=settings.pair,
        resources=settings.resources,
    )  # fmt: skip
    return Data(text.corpus, text.tokens, pairs, text.collected, text.cleaned)


def text_course(settings: Settings) -> Text:
    """From the outside world to tokens."""
    resources = settings.resources
    forgotten = current()
    text, tokenizer = (_adopted(kind, getattr(settings.adopted, kind)) for kind in ("text", "tokenizer"))
    outside = snapshot(config=settings.snapshot, resources=resources)
    collected = collect(
        snapshot=outside, exclusions=forgotten, adopted=text, config=settings.collect, resources=resources
    )
    cleaned = clean(corpus=collected, config=settings.clean, resources=resources)
    corpus = deduplicate(corpus=cleaned, config=settings.deduplicate, resources=resources)
    tokens = tokenize(corpus=corpus, tokenizer=tokenizer, config=settings.tokenize, resources=resources)
    return Text(outside, collected, cleaned, corpus, tokens)


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
