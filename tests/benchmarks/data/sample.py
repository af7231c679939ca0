"""The text that the benchmarks of the data stages work on: docstrings of the installed packages, as a JSONL file."""

import ast
import hashlib
import json
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pyarrow.json

from tests.benchmarks import rows

MEGABYTES = 55


def sample() -> Path:
    """A file of about MEGABYTES of text, with the fields text, source and origin; written once, in minutes."""
    path = rows.folder() / f"docstrings-{MEGABYTES}.jsonl"
    if not path.is_file():
        print(f"Collecting {MEGABYTES} MB of docstrings into {path} …", file=sys.stderr)
        held, temporary = 0, path.with_suffix(".writing")
        with temporary.open("w", encoding="utf-8") as file:
            for row in docstrings():
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                held += len(row["text"].encode())
                if held > MEGABYTES * 1e6:
                    break
        temporary.replace(path)
    return path


def texts(path: Path, megabytes: float) -> list[str]:
    """The first so many megabytes (of UTF-8) of the texts of a JSONL file."""
    found, held = [], 0
    for text in pyarrow.json.read_json(path, pyarrow.json.ReadOptions(block_size=1 << 24))["text"].to_pylist():
        if held > megabytes * 1e6:
            break
        found.append(text)
        held += len(text.encode())
    return found


def files_of(text: Path) -> list[Path]:
    """A JSONL file, or those in a folder."""
    return sorted(text.iterdir()) if text.is_dir() else [text]


def part(text: Path, megabytes: float, target: Path) -> Path:
    """The first lines of a JSONL file or a folder of some, with so many megabytes of text, written to `target`."""
    held = 0
    with target.open("w", encoding="utf-8") as output:
        for line in (line for path in files_of(text) for line in path.open(encoding="utf-8")):
            if held > megabytes * 1e6:
                break
            output.write(line)
            held += len(json.loads(line)["text"].encode())
    return target


def docstrings() -> Iterator[dict[str, str]]:
    """Docstrings of the installed packages, in an order that mixes packages."""
    root = Path(sysconfig.get_path("purelib"))
    for path in sorted(root.rglob("*.py"), key=lambda path: hashlib.md5(str(path.relative_to(root)).encode()).digest()):
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        name = str(path.relative_to(root))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
                text = ast.get_docstring(node)
                if text and not any("\ud800" <= letter <= "\udfff" for letter in text):
                    label = f"pypi://{name}#{getattr(node, 'name', '')}:{getattr(node, 'lineno', 0)}"
                    yield {"text": text, "source": label, "origin": name.split("/")[0]}
