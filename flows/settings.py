"""Everything a flow can be told: one section per stage, in the order they run, and the resources to run them with.

The sections are the stages' own config types; their titles, help and bounds make the form in Prefect's UI. The
defaults are the `demo` preset.
"""

from pydantic import BaseModel, ConfigDict, Field

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


class Start(BaseModel):
    """What the flow `align` starts from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pretrained: str | None = Field(
        None, title="Pretrained model", description="Its digest or the beginning of it; empty for the latest"
    )
    pairs: str | None = Field(
        None, title="Prompt–response pairs", description="Their digest or the beginning of it; empty for the latest"
    )


class Adopted(BaseModel):
    """What `pedigree adopt` took in, to be used in the course."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str | None = Field(
        None, title="Text", description="Digest, or its beginning, of documents to take beside those of the sources"
    )
    pairs: str | None = Field(
        None, title="Pairs", description="Digest, or its beginning, of pairs to take beside those of the sources"
    )
    tokenizer: str | None = Field(
        None, title="Tokenizer", description="Digest, or its beginning, of the tokenizer to use instead of learning one"
    )


class Classifiers(BaseModel):
    """What `pedigree classifier` trained, to be used by `clean`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    quality: str | None = Field(
        None, title="Quality", description="Digest, or its beginning: text that scores low is dropped. Empty: none"
    )
    undesirable: str | None = Field(
        None,
        title="Undesirable content",
        description="Digest, or its beginning: text that scores high is dropped. Empty: none",
    )


class Settings(BaseModel):
    """Settings of the whole course. A flow uses the sections that FLOW_SECTIONS (presets.py) gives it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: Start = Start()
    exclude: ExcludeConfig = ExcludeConfig()
    adopted: Adopted = Adopted()
    classifiers: Classifiers = Classifiers()
    snapshot: SnapshotConfig = SnapshotConfig()
    collect: CollectConfig = CollectConfig()
    clean: CleanConfig = CleanConfig()
    deduplicate: DeduplicateConfig = DeduplicateConfig()
    pair: PairConfig = PairConfig()
    decontaminate: DecontaminateConfig = DecontaminateConfig()
    tokenize: TokenizeConfig = TokenizeConfig()
    mix: MixConfig = MixConfig()
    pretrain: PretrainConfig = PretrainConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    rank: RankConfig = RankConfig()
    reward: RewardConfig = RewardConfig()
    ppo: PPOConfig = PPOConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    resources: Resources = Resources()


DEFAULTS = Settings()
