"""What the flow `align` starts from: a model that is already there, with the data it was made of."""

from flows.course import Data
from flows.latest import named
from flows.settings import Start
from tasks.lineage.artifact import Artifact
from tasks.lineage.store import Store


def starting_point(start: Start) -> tuple[Artifact, Data]:
    """The model to align, and the data that the course needs beside it: the pairs, and what the model was made of."""
    model = named("pretrain", start.pretrained)
    pairs = named("pair", start.pairs)
    tokens = model.inputs["tokens"]
    tokenized = Store().record(tokens.key) or named("tokenize", tokens.digest)
    return model.artifact, Data(corpus=tokenized.inputs["corpus"], tokens=tokens, pairs=pairs.artifact)
