"""The texts that a model was trained on, made searchable: the training split of its tokens, and of its pairs what each
stage learns from: question and answer in fine-tuning and in ranking (the answer is ranked among the model's own), the
question alone in PPO.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from model.tokenizer import Tokenizer
from tasks.lineage.ancestry import ancestors
from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import NotFound
from tasks.lineage.record import Record
from tasks.lineage.store import Store
from tasks.text.shards import shard_paths
from tasks.tokens import Tokens
from tasks.trace.index import Index, build_index, folder_of, open_index, sweep
from tasks.trace.matches import Matcher
from tasks.trace.suffixes import Positions, TokenText
from tasks.trace.words import Vocabulary

FIELDS_OF_SPLIT = {"finetune": ("prompt", "response"), "rank": ("prompt", "response"), "ppo": ("prompt",)}
"""Split of the pairs, which is named after the stage that learns from it → the fields it learns from."""

PAIR_TOKENS, PAIR_DOCUMENTS = "tokens.bin", "documents.parquet"
DOCUMENTS = pa.schema(
    [("doc_id", pa.string()), ("field", pa.string()), ("source", pa.string()), ("license", pa.string()),
     ("start", pa.int64())]
)  # fmt: skip

Report = Callable[[str, int, int], None]  # told (what is built, done, total)


@dataclass(frozen=True)
class Place:
    """Where something stands: a document, or a field of a pair, and how many characters of it come before."""

    doc_id: str
    field: str  # "text", "prompt" or "response"
    source: str | None
    license: str | None
    offset: int
    held_by: str  # digest of the tokens or pairs


class TrainingText:
    """Documents as tokens, with their index.

    starts (D,): where each document begins, rising. rows: a table of D documents with at least doc_id, in that order.
    """

    def __init__(
        self, artifact: Artifact, tokenizer: Tokenizer, text: TokenText, starts: Positions, rows: pa.Table,
        describe: Callable[[list[str]], dict[str, tuple[str | None, str | None]]] | None = None,
    ) -> None:  # fmt: skip
        self.artifact = artifact
        self.tokenizer = tokenizer
        self.text = text
        self._starts = starts
        self._rows = rows
        self._describe = describe
        self.index: Index | None = None

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary(self.tokenizer)

    @cached_property
    def matcher(self) -> Matcher:
        assert self.index is not None
        return Matcher(self.index.suffixes, self.vocabulary)

    @property
    def num_documents(self) -> int:
        return len(self._starts)

    def documents_at(self, positions: Positions) -> NDArray[np.int64]:
        """The row of the document at each position, (N,)."""
        return np.searchsorted(self._starts, positions, side="right") - 1

    def places(self, positions: Positions, spaced: bool) -> list[Place]:
        """Where tokens stand that begin at positions (N,), with a space first if `spaced`."""
        if not len(positions):
            return []
        rows = self.documents_at(positions)
        found = self._rows.take(pa.array(rows)).to_pylist()
        told = self._describe(sorted({row["doc_id"] for row in found})) if self._describe else {}
        places = []
        for row, number, position in zip(found, rows.tolist(), positions.tolist(), strict=True):
            before = self.text.at(np.arange(self._starts[number], position))
            source, licence = told.get(row["doc_id"]) or (row.get("source"), row.get("license"))
            places.append(
                Place(
                    doc_id=row["doc_id"],
                    field=row.get("field", "text"),
                    source=source,
                    license=licence,
                    offset=int(self.vocabulary.characters[before].sum()) + spaced,
                    held_by=self.artifact.digest,
                )
            )
        return places


def training_texts(store: Store, record: Record, report: Report) -> list[TrainingText]:
    """Every text that the work of `record` learned from, itself or in what it was made from; tokens are their own.

    Indexes that are missing are built, and those of outputs that are gone deleted. Raises NotFound where a text is no
    longer in the store, or there is none.
    """
    sweep(store)
    texts = [_opened(store, *text, report) for text in _found(store, record)]
    if not texts:
        raise NotFound(
            f"{record.output.kind} {record.output.digest[:12]} was not made from any text in this store, as far as its "
            "records tell; name a model or tokens that were"
        )
    return texts


def _found(store: Store, record: Record) -> Iterator[tuple[Artifact, frozenset[str], Path | None]]:
    """The tokens, and the pairs with their splits and the tokenizer they are read with, that were learned from."""
    if record.output.kind == "tokens":
        yield record.artifact, frozenset(), None
    splits: dict[str, set[str]] = {}
    pairs: dict[str, tuple[Artifact, Path]] = {}
    seen: set[str] = set()
    for node in ancestors(store, record)["nodes"].values():
        tokens, given, base = (node.inputs.get(name) for name in ("tokens", "pairs", "model"))
        if node.stage == "pretrain" and tokens is not None and tokens.digest not in seen:
            seen.add(tokens.digest)
            yield tokens, frozenset(), None
        if node.stage in FIELDS_OF_SPLIT and given is not None and base is not None:
            splits.setdefault(given.digest, set()).add(node.stage)
            pairs[given.digest] = (given, store.object_path(base.digest) / "model" / "tokenizer.json")
    for digest, (artifact, tokenizer) in sorted(pairs.items()):
        yield artifact, frozenset(splits[digest]), tokenizer


def _where(path: Path, columns: list[str], column: str, values: list[str]) -> pa.Table:
    """Rows whose `column` is one of a few `values`. In such a way that pyarrow loads neither its datasets nor pandas,
    which takes as long as the answer."""
    with pq.ParquetFile(path) as file:
        parts = [
            batch.filter(reduce(pc.or_, (pc.equal(batch[column], pa.scalar(value)) for value in values)))
            for batch in file.iter_batches(columns=columns)
        ]
        return pa.Table.from_batches(parts, pa.schema([file.schema_arrow.field(name) for name in columns]))


def _opened(
    store: Store, artifact: Artifact, splits: frozenset[str], tokenizer: Path | None, report: Report
) -> TrainingText:
    folder = store.object_path(artifact.digest)
    if not folder.is_dir():
        raise NotFound(
            f"{artifact} was learned from and is no longer in the store, so it cannot be searched; run the flow that "
            "made it again"
        )
    if tokenizer is None:
        return _tokens(store, artifact, folder, report)
    return _pairs(store, artifact, folder, splits, tokenizer, report)


def _tokens(store: Store, artifact: Artifact, folder: Path, report: Report) -> TrainingText:
    tokens = Tokens(folder)
    shards = tokens.shards("train").shards
    table = _where(folder / "index.parquet", ["doc_id", "shard", "offset", "split"], "split", ["train"])
    first = np.cumsum([0, *map(len, shards)])
    starts = first[table["shard"].to_numpy()] + table["offset"].to_numpy()
    order = np.argsort(starts)
    corpus = _corpus(store, artifact)
    found = TrainingText(
        artifact, tokens.tokenizer, TokenText(shards), starts[order], table.select(["doc_id"]).take(order),
        lambda ids: _described(corpus, ids),
    )  # fmt: skip
    place = folder_of(store, artifact.digest, "train")
    found.index = open_index(place, found.text)
    if found.index is None:
        build_index(place, found.text, len(found.vocabulary.pieces), _of("the training text", report))
        found.index = Index(place, found.text)
    return found


def _corpus(store: Store, tokens: Artifact) -> Path | None:
    """The corpus that was tokenised, if it is still there: it says where documents are from."""
    maker = store.maker(tokens)
    corpus = maker.inputs.get("corpus") if maker else None
    return store.object_path(corpus.digest) if corpus else None


def _described(corpus: Path | None, doc_ids: list[str]) -> dict[str, tuple[str | None, str | None]]:
    """doc_id → source and licence, as the corpus has them."""
    if corpus is None:
        return {}
    found: dict[str, tuple[str | None, str | None]] = {}
    for path in shard_paths(corpus):
        for row in _where(path, ["doc_id", "source", "license"], "doc_id", doc_ids).to_pylist():
            found[row["doc_id"]] = (row["source"], row["license"])
    return found


def _pairs(
    store: Store, artifact: Artifact, folder: Path, splits: frozenset[str], tokenizer_file: Path, report: Report
) -> TrainingText:
    if not tokenizer_file.is_file():
        raise NotFound(f"{tokenizer_file} is gone, with which {artifact} was read; run the flow that made it again")
    tokenizer = Tokenizer.load(tokenizer_file)
    digest = hashlib.sha256(tokenizer_file.read_bytes()).hexdigest()
    place = folder_of(store, artifact.digest, f"{'-'.join(sorted(splits))}-{digest[:12]}")
    found = _opened_pairs(artifact, tokenizer, place)
    if found is None:
        vocab_size = len(Vocabulary(tokenizer).pieces)
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".pairs-") as work:
            text = _write_pairs(Path(work), folder / "pairs.parquet", splits, tokenizer)
            files = [Path(work) / PAIR_TOKENS, Path(work) / PAIR_DOCUMENTS]
            build_index(place, text, vocab_size, _of("the pairs", report), files)
        found = _opened_pairs(artifact, tokenizer, place)
    assert found is not None
    return found


def _opened_pairs(artifact: Artifact, tokenizer: Tokenizer, place: Path) -> TrainingText | None:
    try:
        text = _token_file(place / PAIR_TOKENS)
        with pq.ParquetFile(place / PAIR_DOCUMENTS) as file:
            rows = file.read()
    except (OSError, ValueError, pa.ArrowInvalid):
        return None
    found = TrainingText(artifact, tokenizer, text, rows["start"].to_numpy(), rows)
    found.index = open_index(place, text)
    return found if found.index is not None else None


def _token_file(path: Path) -> TokenText:
    return TokenText([np.memmap(path, "<u4", "r")] if path.stat().st_size else [])


def _write_pairs(work: Path, table: Path, splits: frozenset[str], tokenizer: Tokenizer) -> TokenText:
    """Encode what is learned from the pairs of some splits, each field a document of its own."""
    columns = ["pair_id", "split", "source", "license", "prompt", "response"]
    rows = _where(table, columns, "split", sorted(splits)).to_pylist()
    fields = [(row, field) for row in rows for field in FIELDS_OF_SPLIT[row["split"]]]
    encoded = tokenizer.encode_batch([row[field].strip() for row, field in fields])
    with (work / PAIR_TOKENS).open("wb") as file:
        for ids in encoded:
            np.array([*ids, tokenizer.endoftext_id], "<u4").tofile(file)
    starts = np.cumsum([0, *(len(ids) + 1 for ids in encoded)])[:-1]
    documents = [
        {"doc_id": row["pair_id"], "field": field, "source": row["source"], "license": row["license"], "start": start}
        for (row, field), start in zip(fields, starts.tolist(), strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(documents, DOCUMENTS), work / PAIR_DOCUMENTS)
    return _token_file(work / PAIR_TOKENS)


def _of(what: str, report: Report) -> Callable[[int, int], None]:
    return lambda done, total: report(what, done, total)
