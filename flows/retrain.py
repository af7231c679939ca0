"""The flow `retrain`: looks for new data, runs what changed, and compares the new models with the last ones.

pedigree run retrain

Its schedule (deployments/prefect.yaml) is off until PEDIGREE_RETRAIN=on is given to `pedigree up`, or the schedule is
switched on in Prefect's UI.
"""

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.comparison import compare, figures, markdown
from flows.course import train_course
from flows.mlflow_tags import tag_run
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


@flow(name="retrain", flow_run_name=run_name)
def retrain(
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
    """Takes a new snapshot of the sources, runs only what changed, and compares the held-out figures."""
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
    with recorded("retrain", settings) as mlflow_run_id:
        before = figures()
        train_course(settings)
        comparison = compare(before, figures())
        create_markdown_artifact(
            markdown(comparison), key="retrain-comparison", description="The new models against the last ones"
        )
        tag_run(mlflow_run_id, comparison.tags())
