"""The flow `align`: fine-tuning, ranking, reward model, PPO and evaluation, from a model that is already pretrained.

pedigree run align --set start.pretrained=3fa9c1
"""

from prefect import flow

from flows.course import align_course
from flows.session import recorded, run_name
from flows.settings import DEFAULTS, Settings, Start
from flows.starting import starting_point
from tasks.evaluate import EvaluateConfig
from tasks.finetune import FinetuneConfig
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
        pretrained, data = starting_point(settings)
        align_course(settings, pretrained, data)
