"""datatrove's side of bench_chain.py, in an environment of its own: python datatrove_chain.py '{"text": …}'."""

import gzip
import json
import os
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path

import py3langid
from datatrove.data import Document
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter, LambdaFilter
from datatrove.pipeline.formatters import FTFYFormatter, PIIFormatter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer
from datatrove.pipeline.writers import JsonlWriter


def seconds() -> float:
    """Processor seconds of this process and of those it waited for."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def run(pipeline: list, folder: Path, name: str, tasks: int = 1) -> None:
    LocalPipelineExecutor(pipeline=pipeline, tasks=tasks, workers=1, logging_dir=str(folder / "logs" / name)).run()


def tell_language(document: Document) -> bool:
    """Note the language, by the model and of as many characters as on our side, and keep the document."""
    document.metadata["language"], _ = py3langid.classify(document.text[:200])
    return True


def main() -> None:
    asked = json.loads(sys.argv[1])
    text, folder = Path(asked["text"]), Path(asked["work"])
    minhash = MinhashConfig(n_grams=5, num_buckets=16, hashes_per_bucket=8)
    began, clock = seconds(), time.perf_counter()
    run(
        [
            JsonlReader(str(text.parent), glob_pattern=text.name, id_key="source"),
            FTFYFormatter(),
            PIIFormatter(),
            LambdaFilter(tell_language),
            GopherRepetitionFilter(
                dup_line_frac=0.6, dup_para_frac=None, dup_line_char_frac=None, dup_para_char_frac=None,
                top_n_grams=(), dup_n_grams=((5, 0.6),),
            ),
            GopherQualityFilter(
                min_doc_words=3, max_doc_words=10**9, min_avg_word_length=1, max_avg_word_length=20,
                max_symbol_word_ratio=1.0, max_bullet_lines_ratio=1.0, max_ellipsis_lines_ratio=1.0,
                max_non_alpha_words_ratio=0.4, min_stop_words=0,
            ),
            JsonlWriter(str(folder / "cleaned")),
        ],
        folder, "clean",
    )  # fmt: skip
    cleaned = JsonlReader(str(folder / "cleaned"))
    run([cleaned, MinhashDedupSignature(str(folder / "signatures"), config=minhash)], folder, "signatures")
    buckets = MinhashDedupBuckets(str(folder / "signatures"), str(folder / "buckets"), config=minhash)
    run([buckets], folder, "buckets", tasks=minhash.num_buckets)
    run([MinhashDedupCluster(str(folder / "buckets"), str(folder / "remove"), config=minhash)], folder, "cluster")
    run(
        [
            JsonlReader(str(folder / "cleaned")),
            MinhashDedupFilter(str(folder / "remove")),
            JsonlWriter(str(folder / "kept")),
            DocumentTokenizer(str(folder / "tokens"), asked["tokenizer"], eos_token="<|endoftext|>", seed=0),
        ],
        folder, "tokens",
    )  # fmt: skip
    spent = seconds() - began
    documents = [json.loads(line)["text"] for line in text.open(encoding="utf-8")]
    kept = sum(gzip.decompress(path.read_bytes()).count(b"\n") for path in (folder / "kept").iterdir())
    print(json.dumps({
        "bytes": sum(len(document.encode()) for document in documents),
        "documents": len(documents),
        "kept": kept,
        "seconds": spent,
        "clock": time.perf_counter() - clock,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "versions": {"datatrove": version("datatrove")},
    }))  # fmt: skip


if __name__ == "__main__":
    main()
