"""The flow `train`: the whole course, from text to a PPO-aligned model. `make run` starts it.

pedigree run train --preset test
"""

from prefect import flow

from flows.course import train_course
from flows.session import recorded, run_name
from flows.settings import DEFAULTS, Adopted, Classifiers, Settings
from tasks.clean import CleanConfig
from tasks.collect import CollectConfig
from tasks.decontaminate import DecontaminateConfig
from tasks.deduplicate import DeduplicateConfig
from tasks.evaluate import EvaluateConfig
from tasks.finetune import FinetuneConfig
from tasks.mix import MixConfig
from tasks.pair import PairConfig
from tasks.ppo import PPOConfig
from tasks.pretrain import PretrainConfig
from tasks.rank import RankConfig
from tasks.reward import RewardConfig
from tasks.snapshot import SnapshotConfig
from tasks.stage import Resources
from tasks.tokenize import TokenizeConfig


@flow(name="train", flow_run_name=run_name)
def train(
    adopted: Adopted = DEFAULTS.adopted,
    classifiers: Classifiers = DEFAULTS.classifiers,
    snapshot: SnapshotConfig = DEFAULTS.snapshot,
    collect: CollectConfig = DEFAULTS.collect,
    clean: CleanConfig = DEFAULTS.clean,
    deduplicate: DeduplicateConfig = DEFAULTS.deduplicate,
    pair: PairConfig = DEFAULTS.pair,
    decontaminate: DecontaminateConfig = DEFAULTS.decontaminate,
    tokenize: TokenizeConfig = DEFAULTS.tokenize,
    mix: MixConfig = DEFAULTS.mix,
    pretrain: PretrainConfig = DEFAULTS.pretrain,
    finetune: FinetuneConfig = DEFAULTS.finetune,
    rank: RankConfig = DEFAULTS.rank,
    reward: RewardConfig = DEFAULTS.reward,
    ppo: PPOConfig = DEFAULTS.ppo,
    evaluate: EvaluateConfig = DEFAULTS.evaluate,
    resources: Resources = DEFAULTS.resources,
) -> None:
    """Trains a language model: data, pretraining, fine-tuning, ranking, reward model, PPO, evaluation.

    Stages whose inputs, settings and code are unchanged are taken from the store.
    """
    settings = Settings(
        adopted=adopted,
        classifiers=classifiers,
        snapshot=snapshot,
        collect=collect,
        clean=clean,
        deduplicate=deduplicate,
        pair=pair,
        decontaminate=decontaminate,
        tokenize=tokenize,
        mix=mix,
        pretrain=pretrain,
        finetune=finetune,
        rank=rank,
        reward=reward,
        ppo=ppo,
        evaluate=evaluate,
        resources=resources,
    )
    with recorded("train", settings):
        train_course(settings)
