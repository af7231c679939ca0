"""What a result *is* (StageConfig, hashed) apart from where and how it is made (Resources, never hashed)."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

NEUTRAL = "neutral"


def neutral(value: Any) -> dict[str, Any]:
    """Mark the value at which a field means "as before": `Field(None, json_schema_extra=neutral(None))`.

    At that value the field stays out of the key, so that adding a setting reruns nothing. The neutral value of a
    field must never change afterwards: older keys were computed with it.
    """
    return {NEUTRAL: value}


class StageConfig(BaseModel):
    """Base of every stage's settings. Every field is part of the identity of the result."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def resolved(self) -> Self:
        """The settings with every "auto" made concrete; called before the key is computed."""
        return self


class Resources(BaseModel):
    """Where and how a stage runs. Nothing here may change a result's meaning; none of it is part of the key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int | None = Field(None, ge=1, title="Workers", description="default: one per core")
    runner: Literal["local", "threads", "processes", "ray", "dask"] = Field(
        "local",
        title="Where pieces of a stage run",
        description="local: in processes of this machine. The others are Prefect's task runners; ray and dask start a "
        "cluster on this machine unless one is named",
    )
    cluster: str | None = Field(
        None, title="Cluster", description="address of a running Ray (ray://…) or Dask (tcp://…) cluster"
    )
    threads: int | None = Field(
        None, ge=1, le=1024, title="Threads", description="for numerical libraries; default: theirs"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where models compute")
    compile: bool = Field(
        False, description="in pretrain and finetune compile layers with torch.compile, which needs a C++ compiler"
    )
    activation_checkpointing: bool = Field(
        False,
        description="keep activations of one layer at a time when training: less memory for a third more computation",
    )
    checkpoint_seconds: float = Field(30.0, gt=0, description="time between two checkpoints of a training stage")
    checkpoint_steps: int | None = Field(
        None, ge=1, description="steps between two checkpoints, besides; empty: by time alone"
    )
    data_workers: int = Field(1, ge=0, le=1024, description="threads that read training batches ahead; 0: none")
    nproc: int = Field(
        1, ge=1, description="processes that train a model together on each machine; on GPUs: one for each"
    )
    shard: bool = Field(
        False,
        description="in pretrain and finetune these processes divide the model between them (FSDP2), so that each "
        "needs less memory; else each holds all of it",
    )
    nnodes: int = Field(1, ge=1, description="machines that train a model together; see docs/training.md")
    rendezvous: str | None = Field(
        None,
        pattern=r"^.+:[0-9]+$",
        description="host:port of this machine where the others meet it; needed for more than one machine",
    )
    root: Path | None = Field(
        None, description="folder that relative source paths start from; default: the current one"
    )

    @model_validator(mode="after")
    def _machines_meet_somewhere(self) -> Self:
        if self.nnodes > 1 and self.rendezvous is None:
            raise ValueError("resources.nnodes > 1 needs resources.rendezvous, host:port of this machine")
        return self

    @property
    def processes(self) -> int:
        """How many train together."""
        return self.nproc * self.nnodes


def identity(config: BaseModel) -> dict[str, Any]:
    """The fields of `config` that enter the key, by name: those at their neutral value are left out, at any depth."""
    found: dict[str, Any] = {}
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        extra = field.json_schema_extra
        if isinstance(extra, dict) and NEUTRAL in extra and _same(extra[NEUTRAL], value):
            continue
        found[name] = _identity(value)
    return found


def _same(neutral_value: Any, value: Any) -> bool:
    """Equality that tells True from 1, and a tuple from a list only by what is in it."""
    return isinstance(neutral_value, bool) == isinstance(value, bool) and _identity(neutral_value) == _identity(value)


def _identity(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return identity(value)
    if isinstance(value, list | tuple):
        return [_identity(item) for item in value]
    if isinstance(value, dict):
        return {name: _identity(item) for name, item in value.items()}
    return value
