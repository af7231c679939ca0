"""Learning a BPE of 8k on 50 MB, and encoding with it on one thread: against rustbpe, tiktoken and tokenizers.

Text goes in as Python strings. All sides encode the same documents with the same vocabulary, and their ids are
compared. Time is processor time; each side runs in a process of its own, one after the other.
"""

import json
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

import numpy as np

from model.tokenizer import Tokenizer, tokenizer_of_words
from tasks.text.encoder import encoder_of
from tasks.text.pretokens import count_words
from tasks.text.spans import TextBatch
from tests.benchmarks.data.sample import sample, texts
from tests.benchmarks.rows import ONE_THREAD, Row, environment, in_process

VOCABULARY = 8192
TRAIN_MEGABYTES, ENCODE_MEGABYTES = 50, 30
BATCH_TEXTS = 2048
OTHERS = Path(__file__).parent / "others" / "encoders.py"
ONE = {**ONE_THREAD, "TOKENIZERS_PARALLELISM": "false"}


def rows() -> list[Row]:
    text = sample()
    python = str(environment("encoders", ["numpy", "rustbpe", "tiktoken", "tokenizers==0.23.3"]))
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = Path(folder) / "tokenizer.json"
        own = [sys.executable, "-m", "tests.benchmarks.data.bench_tokenizer"]
        trained, _ = in_process([*own, "train", str(text), str(vocabulary)], ONE)
        encoded, _ = in_process([*own, "encode", str(text), str(vocabulary)], ONE)
        settings = {"text": str(text), "tokenizer": str(vocabulary), "vocabulary": VOCABULARY}
        theirs = {}
        for work, megabytes in (
            ("train_rustbpe", TRAIN_MEGABYTES),
            ("train_tokenizers", TRAIN_MEGABYTES),
            ("encode_tiktoken", ENCODE_MEGABYTES),
            ("encode_tokenizers", ENCODE_MEGABYTES),
        ):
            asked = json.dumps({**settings, "work": work, "megabytes": megabytes})
            theirs[work], _ = in_process([python, str(OTHERS), asked], ONE)
    if trained["sha256"] != theirs["train_tokenizers"]["sha256"]:
        raise SystemExit("the tokenizer learnt is not that of tokenizers")
    for name in ("encode_tiktoken", "encode_tokenizers"):
        if encoded["sha256"] != theirs[name]["sha256"]:
            raise SystemExit(f"{name}: other ids than ours")
    found = []
    for name, at_least in (("rustbpe", 1.0), ("tokenizers", None)):
        other = theirs[f"train_{name}"]
        ratio = other["seconds"] / trained["seconds"]
        found.append(Row(
            f"train BPE 8k on {TRAIN_MEGABYTES} MB", name, trained["seconds"], other["seconds"], ratio, "s",
            other["versions"], at_least, "processor time, one thread; the same tokenizer as tokenizers gives",
        ))  # fmt: skip
    for name, at_least in (("tiktoken", 1.5), ("tokenizers", 10.0)):
        other = theirs[f"encode_{name}"]
        ours, rate = encoded["bytes"] / 1e6 / encoded["seconds"], other["bytes"] / 1e6 / other["seconds"]
        found.append(Row(
            "encode, one thread, same tokens", name, ours, rate, ours / rate, "MB/s", other["versions"], at_least,
            f"{encoded['bytes'] / 1e6:.0f} MB of docstrings from a cold start; ids compared",
        ))  # fmt: skip
    return found


def train(text: Path, target: Path) -> dict[str, object]:
    """Learn from the text and write the tokenizer."""
    documents = texts(text, TRAIN_MEGABYTES)
    count_words([TextBatch(["some words"])], compiled=True)  # machine code is there before, as the others' is
    began = time.process_time()
    batches = (TextBatch(documents[row : row + BATCH_TEXTS]) for row in range(0, len(documents), BATCH_TEXTS))
    tokenizer = tokenizer_of_words(count_words(batches, compiled=True), VOCABULARY)
    seconds = time.process_time() - began
    tokenizer.save(target)
    return {
        "seconds": seconds,
        "sha256": sha256(json.dumps(json.loads(tokenizer.to_json())["model"]).encode()).hexdigest(),
    }


def encode(text: Path, tokenizer: Path) -> dict[str, object]:
    """Encode the text with an encoder that has seen nothing yet."""
    documents = texts(text, ENCODE_MEGABYTES)
    backend, found = Tokenizer.load(tokenizer).backend, []
    encoder_of(backend, compiled=True).encode(["some words"])  # machine code is there before, as the others' is
    began = time.process_time()
    encoder = encoder_of(backend, compiled=True)
    for row in range(0, len(documents), BATCH_TEXTS):
        found.append(encoder.encode(documents[row : row + BATCH_TEXTS]))
    seconds = time.process_time() - began
    ids = np.concatenate([ids for ids, _ in found]).astype("<u4")
    return {
        "seconds": seconds,
        "bytes": sum(len(document.encode()) for document in documents),
        "sha256": sha256(ids.tobytes()).hexdigest(),
    }


if __name__ == "__main__":
    work, *paths = sys.argv[1:]
    print(json.dumps({"train": train, "encode": encode}[work](*map(Path, paths))))
