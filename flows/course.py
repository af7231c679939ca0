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

    collected, cleaned: what the corpus was made from, where the stages were run. tokenized: the tokens before they were
    mixed, where they were.
    """

    corpus: Artifact
    tokens: Artifact
    pairs: Artifact
    collected: Artifact | None = None
    cleaned: Artifact | None = None
    tokenized: Artifact | None = None


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


def data_course(settings: Settings) -> Data:
    resources = settings.resources
    forgotten = current()
    text, more_pairs, tokenizer = (_adopted(kind, getattr(settings.adopted, kind)) for kind in ADOPTED)
    outside = snapshot(config=settings.snapshot, resources=resources)
    collected = collect(
        snapshot=outside, exclusions=forgotten, adopted=text, config=settings.collect, resources=resources
    )
    cleaned = clean(corpus=collected, config=settings.clean, resources=resources)
    corpus = deduplicate(corpus=cleaned, config=settings.deduplicate, resources=resources)
    tokenized = tokenize(corpus=corpus, tokenizer=tokenizer, config=settings.tokenize, resources=resources)
    tokens = tokenized
    if settings.mix.sources:
        tokens = mix(tokens=tokenized, corpus=corpus, config=settings.mix, resources=resources)
    pairs = pair(snapshot=outside, exclusions=forgotten, adopted=more_pairs, config=settings.pair, resources=resources)
    return Data(corpus=corpus, tokens=tokens, pairs=pairs, collected=collected, cleaned=cleaned, tokenized=tokenized)


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
