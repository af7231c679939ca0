"""The other sides of bench_tokenizer.py, in an environment of their own: python encoders.py '{"work": …}'."""

import json
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import version
from typing import Any

import numpy as np

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
BATCH_TEXTS = 2048


def texts(path: str, megabytes: float) -> list[str]:
    found, held = [], 0
    with open(path, encoding="utf-8") as file:
        for line in file:
            if held > megabytes * 1e6:
                break
            found.append(json.loads(line)["text"])
            held += len(found[-1].encode())
    return found


def train_rustbpe(asked: dict[str, Any], documents: list[str]) -> dict[str, Any]:
    import rustbpe

    began = time.process_time()
    tokenizer = rustbpe.Tokenizer()
    tokenizer.train_from_iterator(iter(documents), asked["vocabulary"] - len(SPECIAL), pattern=GPT2)
    return {"seconds": time.process_time() - began, "tokens": len(tokenizer.get_mergeable_ranks())}


def train_tokenizers(asked: dict[str, Any], documents: list[str]) -> dict[str, Any]:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    began = time.process_time()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=asked["vocabulary"],
        special_tokens=SPECIAL,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(iter(documents), trainer)
    seconds = time.process_time() - began
    model = json.dumps(json.loads(tokenizer.to_str(pretty=True))["model"])
    return {"seconds": seconds, "sha256": sha256(model.encode()).hexdigest()}


def encode_tiktoken(asked: dict[str, Any], documents: list[str]) -> dict[str, Any]:
    import tiktoken

    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    byte_of = {chr(byte): byte for byte in printable} | {chr(0x100 + place): byte for place, byte in enumerate(others)}
    with open(asked["tokenizer"], encoding="utf-8") as file:
        vocabulary = json.load(file)["model"]["vocab"]
    ranks = {
        bytes(byte_of[letter] for letter in token): number
        for token, number in vocabulary.items()
        if token not in SPECIAL
    }
    encoding = tiktoken.Encoding("ours", pat_str=GPT2, mergeable_ranks=ranks, special_tokens={})
    began = time.process_time()
    ids = [encoding.encode_ordinary(document) for document in documents]
    return {"seconds": time.process_time() - began, "sha256": digest(ids)}


def encode_tokenizers(asked: dict[str, Any], documents: list[str]) -> dict[str, Any]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(asked["tokenizer"])
    tokenizer.encode_special_tokens = True
    began = time.process_time()
    ids = []
    for row in range(0, len(documents), BATCH_TEXTS):
        ids += [found.ids for found in tokenizer.encode_batch_fast(documents[row : row + BATCH_TEXTS])]
    return {"seconds": time.process_time() - began, "sha256": digest(ids)}


def digest(ids: list[list[int]]) -> str:
    return sha256(np.array([number for row in ids for number in row], "<u4").tobytes()).hexdigest()


def main() -> None:
    asked = json.loads(sys.argv[1])
    documents = texts(asked["text"], asked["megabytes"])
    works: dict[str, Callable[..., dict[str, Any]]] = {
        work.__name__: work for work in (train_rustbpe, train_tokenizers, encode_tiktoken, encode_tokenizers)
    }
    found = works[asked["work"]](asked, documents)
    name = asked["work"].rpartition("_")[2]
    size = sum(len(document.encode()) for document in documents)
    print(json.dumps({**found, "bytes": size, "versions": {name: version(name)}}))


if __name__ == "__main__":
    main()
