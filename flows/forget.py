"""The flow `forget`: leaves documents out from now on, rebuilds what held them, and certifies that they are gone.

pedigree forget --doc 3f2a91c0
"""

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run as context

from flows.forgetting import forget_course, markdown
from flows.mlflow_tags import tag_run
from flows.session import recorded, run_name
from flows.settings import DEFAULTS, Adopted, Classifiers, Settings
from tasks.clean import CleanConfig
from tasks.collect import CollectConfig
from tasks.decontaminate import DecontaminateConfig
from tasks.deduplicate import DeduplicateConfig
from tasks.evaluate import EvaluateConfig
from tasks.finetune import FinetuneConfig
from tasks.forget.exclusions import ExcludeConfig
from tasks.mix import MixConfig
from tasks.pair import PairConfig
from tasks.ppo import PPOConfig
from tasks.pretrain import PretrainConfig
from tasks.rank import RankConfig
from tasks.reward import RewardConfig
from tasks.snapshot import SnapshotConfig
from tasks.stage import Resources
from tasks.tokenize import TokenizeConfig


@flow(name="forget", flow_run_name=run_name)
def forget(
    exclude: ExcludeConfig = DEFAULTS.exclude,
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
    """Leaves documents out of every collection from now on, rebuilds what held them, and certifies that they are gone.

    Give the settings of the course to rebuild; `pedigree forget` takes those of the latest.
    """
    exclude.check_named()
    settings = Settings(
        exclude=exclude,
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
    with recorded("forget", settings) as mlflow_run_id:
        certificate = forget_course(settings, str(context.id), mlflow_run_id)
        create_markdown_artifact(markdown(certificate), key="deletion-certificate", description="What was forgotten")
        tags = {"pedigree.certificate": certificate["id"], "pedigree.clean": str(certificate["check"]["clean"]).lower()}
        tag_run(mlflow_run_id, tags)
