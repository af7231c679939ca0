"""A course of the preset `test` on a few local texts, in which two copies of one document are planted, and a pair.

PEDIGREE_HOME=… python -m tests.planted_course FOLDER   writes the texts to FOLDER, trains, and prints the artifacts
"""

import ast
import json
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from flows.presets import PRESETS
from tasks.lineage.artifact import Artifact
from tasks.lineage.sorted_ids import short_ids
from tasks.lineage.store import Store
from tasks.text.documents import Draft
from tasks.text.points import points_of
from tasks.text.splits import TRAIN, side
from tasks.text.token_shards import VALIDATION

PLANTED = """The lighthouse keeper of Ormsvik wrote down every ship that passed in the winter of 1887. Each entry gives
the hour, the wind, the rig and the colour of the hull, and now and then a remark on the cargo. On the ninth of February
a barque without lights drifted past the skerries; he rowed out alone, found nobody aboard but a caged goldfinch, and
kept the bird for eleven years. Historians use the book to date storms, since the harbour register burned in 1902."""
NEAR = PLANTED.replace("colour of the hull", "color of the hull")
ANNOTATED = {"prompt": "Which bird did the keeper of Ormsvik find?", "response": "He found a caged goldfinch aboard."}
MODULES = ("argparse", "ast", "collections/__init__", "datetime", "decimal", "_pydecimal", "difflib", "doctest",
           "email/message", "fractions", "inspect", "logging/__init__", "optparse", "os", "pathlib", "random",
           "shutil", "statistics", "subprocess", "tarfile", "textwrap", "threading", "turtle", "typing", "zipfile",
           "unittest/mock", "unittest/case", "tkinter/__init__", "ssl", "socket", "heapq", "locale")  # fmt: skip


@dataclass(frozen=True)
class Course:
    """A finished course on texts in `folder`, and what it made: corpus, tokens, pairs, pretrained, finetuned, …"""

    folder: Path
    store: Store
    made: dict[str, Artifact]


def docstrings() -> Iterator[tuple[str, str]]:
    """(qualified name, docstring) of the standard library's longer ones."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    for name in MODULES:
        tree = ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and (text := ast.get_docstring(node)):
                yield f"{name.replace('/', '.')}.{node.name}.{node.lineno}", text


def write(folder: Path) -> dict[str, Any]:
    """Writes the texts and pairs; returns the settings of the course on them."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = [{"id": name, "text": text} for name, text in docstrings() if len(text) > 150]
    pairs = [
        {"prompt": f"What does {name.rsplit('.', 1)[0]} do?", "response": text.splitlines()[0]}
        for name, text in docstrings()
        if 20 < len(text.splitlines()[0]) < 100
    ]
    planted = [{"id": "planted", "text": PLANTED}, {"id": "near", "text": NEAR}]
    for file, rows in (("texts.jsonl", [*texts, *planted]), ("pairs.jsonl", [*pairs, ANNOTATED])):
        (folder / file).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings: dict[str, Any] = json.loads(json.dumps(PRESETS["test"]))
    settings["snapshot"] = {
        "sources": [
            {"kind": "files", "path": str(folder / "texts.jsonl"), "license": "CC-BY-4.0", "text_kind": "docstring"},
            {"kind": "files", "path": str(folder / "pairs.jsonl"), "license": "MIT", "role": "pairs"},
        ],
        "evaluation_share": 0.2,
        "seed": _seed(folder),
    }
    settings["tokenize"]["seed"] = _tokenize_seed(folder)
    settings["pretrain"]["context_length"] = 64
    settings["resources"] = {"threads": 1, "workers": 1}
    return settings


def planted_id(folder: Path, name: str, text: str) -> str:
    """The doc_id of a row of texts.jsonl."""
    source = f"{(folder / 'texts.jsonl').resolve().as_uri()}#{name}"
    return Draft(text, source, "", None, "docstring", None).doc_id


def planted_ids(folder: Path) -> tuple[str, str]:
    """Of the planted text and of its near copy."""
    return planted_id(folder, "planted", PLANTED), planted_id(folder, "near", NEAR)


def _seed(folder: Path) -> int:
    """A seed by which both planted texts are trained on: which side they fall to depends on the folder's name."""
    ids = planted_ids(folder)
    return next(seed for seed in range(1000) if all(side(seed, 0.2, doc_id) == TRAIN for doc_id in ids))


def _tokenize_seed(folder: Path) -> int:
    """A seed by which neither is set apart to measure pretraining."""
    heads = short_ids(pa.array(list(planted_ids(folder))))
    return next(seed for seed in range(1000) if (points_of(heads, seed, VALIDATION) > 0.1).all())


def main() -> None:
    from flows.course import align_course, data_course, pretrain_course
    from flows.settings import Settings

    settings = Settings(**write(Path(sys.argv[1])))
    data = data_course(settings)
    models = align_course(settings, pretrain_course(settings, data), data)
    made = {**asdict(data), **asdict(models)}
    print(json.dumps({name: artifact.model_dump() for name, artifact in made.items()}))


if __name__ == "__main__":
    main()
