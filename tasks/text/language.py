"""Language identification with py3langid's model (Lui & Baldwin 2012), for all texts of a batch at once.

The model is a naive Bayes classifier over byte n-grams, which an automaton finds. py3langid walks the automaton byte by
byte in Python; here it takes a step in all texts together, which gives the same answers at some ten times the speed.
Only the beginning of a text is read, for the same reason.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from py3langid.langid import MODEL_FILE, LanguageIdentifier
from scipy.sparse import csr_matrix

from tasks.lineage.fingerprint import fingerprint
from tasks.lineage.home import home
from tasks.text.checksums import is_whole, write_checksums
from tasks.text.class_scores import ID_BITS, as_magnitudes, lack_small_letters, score_classes
from tasks.text.encoding import rewrite
from tasks.text.kernels import kept
from tasks.text.spans import TextBatch

UNDETERMINED = "und"  # ISO 639-2
_FEATURE_BITS = int(ID_BITS)  # of a 32-bit key; the model has 100,053 features. The rest numbers the text
_MOST_TEXTS = 1 << (32 - _FEATURE_BITS)
SAMPLE_CHARS = 200  # read of each text; more hardly changes an answer
ARRAYS = {name: f"{name}.npy" for name in ("moves", "rows", "features", "magnitudes", "priors", "names")}
FILES = tuple(ARRAYS.values())
MIN_CONFIDENCE = 0.5  # below it a text's language is unknown
DOUBT = 1e-5  # so near to it the sums of numpy decide: others are rounded otherwise, by 10⁻⁶ at most
_LOADING = Lock()
PLACE = Path("cache") / "language"  # below the folder of state; may be deleted at any time
NO_LANGUAGE = "zxx"  # ISO 639-2: no linguistic content; the model's class for code, numbers and the like


class Identifier:
    """py3langid's model as arrays."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._moves = (
            arrays["moves"].astype(np.uint32, copy=False).view(np.int32)
        )  # [row of the state << 8 | byte] → state
        self._rows = arrays["rows"].astype(np.int32) << 8
        self._features = arrays["features"].astype(np.int32)  # of each state, −1: none
        self._magnitudes = arrays["magnitudes"]
        self._priors = arrays["priors"].astype(np.float32)
        self._names = arrays["names"].tolist()
        firsts = np.array([self._names.index(name) for name in self._names])
        seconds = np.flatnonzero(firsts != np.arange(len(firsts)))
        self._doubles = np.stack((firsts[seconds], seconds), axis=1)  # classes of one language, in two scripts

    @cached_property
    def _weights(self) -> np.ndarray:
        """log P(feature | class), (F, C)."""
        bits = self._magnitudes[:, : len(self._names)]
        return -bits.view(np.float16).astype(np.float32)

    @property
    def languages(self) -> list[str]:
        """Codes of what can be told apart (ISO 639-1 where there is one)."""
        return sorted(set(self._names) - {NO_LANGUAGE})

    def classify(self, column: pa.Array, compiled: bool = False) -> tuple[pa.Array, np.ndarray]:
        """The likeliest class of each whole text and its probability (N,), as py3langid gives them; N < 2^15."""
        if compiled:  # most texts are passed over sooner than Arrow tells that they are not all in capitals
            batch = TextBatch(column)
            given, lacking = column, kept(lack_small_letters)(batch.data, batch.offsets)
            column = rewrite(column, pa.array(lacking), _without_capitals)
            batch = batch if column is given else TextBatch(column)
        else:
            batch = TextBatch(_without_capitals(column))
        sizes = np.diff(batch.offsets)
        if compiled:
            scores, best, confidence = self._classify_at_once(batch)
            unsure = np.flatnonzero(np.abs(confidence - MIN_CONFIDENCE) < DOUBT)
            best[unsure], confidence[unsure] = self._likeliest(scores[unsure], sizes[unsure])
        else:
            best, confidence = self._likeliest(self.scores(batch), sizes)
        return pa.array(self._names, pa.string()).take(pa.array(best)), confidence

    def _likeliest(self, scores: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The likeliest class of each text and its probability, each (N,). scores: (N, C), overwritten; sizes: bytes of
        the texts, (N,)."""
        scores /= np.sqrt(np.maximum(sizes, 1))[:, None].astype(np.float32)  # keeps the probabilities calibrated
        scores -= scores.max(1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(1, keepdims=True)
        for first, double in self._doubles.tolist():
            scores[:, first] += scores[:, double]
            scores[:, double] = 0
        best = scores.argmax(1)
        return best, scores[np.arange(len(best)), best]

    def _classify_at_once(self, batch: TextBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `scores`, and as `_likeliest` of them but for how sums are rounded."""
        sizes = np.diff(batch.offsets)
        order = np.argsort(sizes.astype(np.uint16) if len(sizes) and sizes.max() < 1 << 16 else sizes, kind="stable")
        scores, best, confidence = kept(score_classes)(
            batch.data, batch.offsets, order, self._moves, self._rows, self._features, self._magnitudes, self._priors,
            np.log1p(np.arange(sizes.max(initial=1) + 1, dtype=np.float32)), self._doubles,
        )  # fmt: skip
        return scores[:, : len(self._names)], best, confidence

    def scores(self, batch: TextBatch) -> np.ndarray:
        """Σ log(1 + count of the feature) · log P(feature | class) + log P(class), (N, C) float32."""
        counts = self._counts(batch)
        scores = np.asarray(counts @ self._weights) + self._priors
        scores[np.diff(counts.indptr) == 0] = 0  # nothing known in it: all classes alike
        return scores

    def _counts(self, batch: TextBatch) -> csr_matrix:
        """log(1 + how often each feature occurs in each text), (N, F)."""
        sizes = np.diff(batch.offsets)
        order = np.argsort(-sizes, kind="stable")  # the longest first, so that those still going on come first
        begins, still = batch.offsets[:-1][order], np.sort(sizes)
        numbers = order.astype(np.uint32) << _FEATURE_BITS
        states = np.zeros(len(batch), np.int32)
        found = []
        for step in range(int(sizes.max(initial=0))):
            going = len(batch) - int(np.searchsorted(still, step, "right"))
            moves = self._rows[states[:going]] + batch.data[begins[:going] + step]
            states[:going] = self._moves[moves]
            features = self._features[states[:going]]
            hits = np.flatnonzero(features >= 0)
            found.append(numbers[hits] | features[hits].astype(np.uint32))
        keys = np.sort(np.concatenate(found)) if found else np.zeros(0, np.uint32)
        firsts = np.flatnonzero(np.concatenate((np.ones(min(len(keys), 1), bool), keys[1:] != keys[:-1])))
        values = np.log1p(np.diff(np.append(firsts, len(keys))).astype(np.float32))
        texts, features = keys[firsts] >> _FEATURE_BITS, keys[firsts] & ((1 << _FEATURE_BITS) - 1)
        bounds = np.searchsorted(texts, np.arange(len(batch) + 1, dtype=np.uint32)).astype(np.int32)
        shape = (len(batch), len(self._weights))
        return csr_matrix((values, features.astype(np.int32), bounds), shape=shape)


def _without_capitals(column: pa.Array) -> pa.Array:
    """Texts that are all in capitals in lower case. Beyond ASCII Arrow and Python do not agree on which are."""
    plain = pc.string_is_ascii(column)
    column = rewrite(column, pc.and_(plain, pc.ascii_is_upper(column)), pc.ascii_lower)
    return rewrite(
        column,
        pc.invert(plain),
        lambda wide: pa.array([text.lower() if text.isupper() else text for text in wide.to_pylist()], wide.type),
    )


def unpacked() -> dict[str, np.ndarray]:
    """The arrays of py3langid's model, as they are in it; the weights as `score_classes` takes them."""
    model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    arrays = {
        "moves": np.asarray(model.tk_nextmove),
        "rows": np.asarray(model.tk_row),
        "features": np.asarray(model.tk_output),
        "magnitudes": as_magnitudes(model.nb_ptc),
        "priors": np.asarray(model.nb_pc),
        "names": np.array(model.nb_classes),
    }
    for array in arrays.values():
        array.setflags(write=False)  # as they are from files, or machine code would be made for both
    return arrays


def remembered(folder: Path) -> dict[str, np.ndarray]:
    """The same from files, which are left there by who comes first: to unpack the model takes most of a second. What is
    damaged, as its checksums tell, is unpacked anew.

    The files are mapped, so all workers share one copy (68 MB) in memory and in the cache of the processor.
    """
    with suppress(OSError):  # no room, or another process is replacing them
        if not is_whole(folder, FILES):
            remember(folder, unpacked())
        return {name: np.load(folder / file, mmap_mode="r", allow_pickle=False) for name, file in ARRAYS.items()}
    return unpacked()


def remember(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """Leave the arrays in files. Raises OSError."""
    writing = folder.with_suffix(f".{os.getpid()}.tmp")
    try:
        writing.mkdir(parents=True)
        for name, file in ARRAYS.items():
            np.save(writing / file, arrays[name], allow_pickle=False)
        write_checksums(writing, FILES)
        shutil.rmtree(folder, ignore_errors=True)
        writing.rename(folder)
    finally:
        shutil.rmtree(writing, ignore_errors=True)


def identifier() -> Identifier:
    """The identifier, loaded at first use (80 MB), by one thread for all."""
    with _LOADING:
        return _loaded()


@cache
def _loaded() -> Identifier:
    name = f"{fingerprint(unpacked).digest[:16]}-{version('py3langid').replace('.', '-')}"
    return Identifier(remembered(home() / PLACE / name))


def identify(column: pa.Array, compiled: bool = False) -> pa.Array:
    """Language of each text by its first `SAMPLE_CHARS` characters; null where it cannot be told.

    The texts should be composed (NFC), as `mend` leaves them. compiled: by machine code (kernels.py).
    """
    samples = pc.utf8_slice_codeunits(column, 0, SAMPLE_CHARS)
    found = [pa.array([], pa.string())]
    for begin in range(0, len(samples), _MOST_TEXTS):
        names, confidence = identifier().classify(samples.slice(begin, _MOST_TEXTS), compiled)
        known = pc.and_(pa.array(confidence >= MIN_CONFIDENCE), pc.not_equal(names, NO_LANGUAGE))
        found.append(pc.if_else(known, names, pa.scalar(None, pa.string())))
    return pa.concat_arrays(found)
