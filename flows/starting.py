"""What the flow `align` starts from: a model that is already there, with the data it was made of."""

from flows.course import Data
from flows.latest import named
from flows.settings import Settings
from tasks.lineage.artifact import Artifact
from tasks.lineage.store import Store
from tasks.tokenize import TokenizeConfig, tokenize


def starting_point(settings: Settings) -> tuple[Artifact, Data]:
    """The model to align, and the data that the course needs beside it: the pairs, and what the model was made of.

    Of a model that was adopted that is not known: it is measured on the latest text, in its own tokens.
    """
    start = settings.start
    model = named("pretrain", start.pretrained, "adopt_model")
    pairs = named("pair", start.pairs, "adopt_pairs").artifact
    if model.declared is not None:
        latest = named("tokenize", None)
        tokens = tokenize(
            corpus=latest.inputs["corpus"],
            tokenizer=model.artifact,
            config=TokenizeConfig.model_validate(latest.config),
            resources=settings.resources,
        )
        return model.artifact, Data(corpus=latest.inputs["corpus"], tokens=tokens, pairs=pairs)
    tokens = model.inputs["tokens"]
    tokenized = Store().record(tokens.key) or named("tokenize", tokens.digest, "mix")
    return model.artifact, Data(corpus=tokenized.inputs["corpus"], tokens=tokens, pairs=pairs)
