"""The flow `align`: fine-tuning, ranking, reward model, PPO and evaluation, from a model that is already pretrained.

pedigree run align --set start.pretrained=3fa9c1
"""

from prefect import flow

from flows.course import Data, align_course
from flows.latest import named
from flows.session import recorded, run_name
from flows.settings import DEFAULTS, Settings, Start
from tasks.evaluate import EvaluateConfig
from tasks.finetune import FinetuneConfig
from tasks.lineage.artifact import Artifact
from tasks.lineage.store import Store
from tasks.ppo import PPOConfig
from tasks.rank import RankConfig
from tasks.reward import RewardConfig
from tasks.stage import Resources


@flow(name="align", flow_run_name=run_name)
def align(
    start: Start = DEFAULTS.start,
    finetune: FinetuneConfig = DEFAULTS.finetune,
    rank: RankConfig = DEFAULTS.rank,
    reward: RewardConfig = DEFAULTS.reward,
    ppo: PPOConfig = DEFAULTS.ppo,
    evaluate: EvaluateConfig = DEFAULTS.evaluate,
    resources: Resources = DEFAULTS.resources,
) -> None:
    """Fine-tunes a pretrained model on pairs, ranks its answers, trains a reward model and aligns with PPO."""
    settings = Settings(
        start=start, finetune=finetune, rank=rank, reward=reward, ppo=ppo, evaluate=evaluate, resources=resources
    )
    with recorded("align", settings):
        pretrained, data = starting_point(start)
        align_course(settings, pretrained, data)


def starting_point(start: Start) -> tuple[Artifact, Data]:
    """The model to align, and the data that the course needs beside it: the pairs, and what the model was made of."""
    model = named("pretrain", start.pretrained)
    pairs = named("pair", start.pairs)
    tokens = model.inputs["tokens"]
    tokenized = Store().record(tokens.key) or named("tokenize", tokens.digest)
    return model.artifact, Data(corpus=tokenized.inputs["corpus"], tokens=tokens, pairs=pairs.artifact)
