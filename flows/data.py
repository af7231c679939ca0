"""The flow `data`: from what the outside world holds to tokens and prompt–response pairs.

pedigree run data --set collect.min_docstring_chars=80
"""

from prefect import flow

from flows.course import data_alone
from flows.session import recorded, run_name
from flows.settings import DEFAULTS, Adopted, Classifiers, Settings
from tasks.clean import CleanConfig
from tasks.collect import CollectConfig
from tasks.decontaminate import DecontaminateConfig
from tasks.deduplicate import DeduplicateConfig
from tasks.mix import MixConfig
from tasks.pair import PairConfig
from tasks.snapshot import SnapshotConfig
from tasks.stage import Resources
from tasks.tokenize import TokenizeConfig


@flow(name="data", flow_run_name=run_name)
def data(
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
    resources: Resources = DEFAULTS.resources,
) -> None:
    """Collects text, cleans it, removes duplicates and what evaluations ask, and tokenises it; makes prompt–response
    pairs if a source gives any.

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
        resources=resources,
    )
    with recorded("data", settings):
        data_alone(settings)
