"""Which edit of which file of this repository reruns which stages. Nothing runs: only fingerprints are compared.

A row names a function of the real source tree. It is edited in a copy (a statement is put at the beginning of its
body), and the stages whose code digest changes are compared with the row. Where a row surprises you, either the edit
really can change what the stage makes, or a stage has begun to reach something that it should not.
"""

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import course
from tasks.lineage.codebase import Codebase
from tasks.lineage.fingerprint import beginnings, reach
from tasks.stage import Stage

ROOT = Path(__file__).parents[3]
STAGES = {name: value for name, value in vars(course).items() if isinstance(value, Stage)}

DATA = {"collect", "pair"}
TRAINED = {"pretrain", "finetune", "reward", "ppo"}
MODELS = {*TRAINED, "rank", "evaluate"}

EDITS: dict[tuple[str, str], set[str]] = {
    # A stage's own file reruns that stage; another stage's file does not.
    ("tasks/snapshot.py", "_file_items"): {"snapshot"},
    ("tasks/collect.py", "collect"): {"collect"},
    ("tasks/clean.py", "clean_piece"): {"clean"},
    ("tasks/deduplicate.py", "deduplicate"): {"deduplicate"},
    ("tasks/decontaminate.py", "decontaminate"): {"decontaminate"},
    ("tasks/tokenize.py", "tokenize"): {"tokenize"},
    ("tasks/mix.py", "mix"): {"mix"},
    ("tasks/pair.py", "pair"): {"pair"},
    ("tasks/pretrain.py", "fit"): {"pretrain"},
    ("tasks/finetune.py", "finetune"): {"finetune"},
    ("tasks/rank.py", "rank"): {"rank"},
    ("tasks/reward.py", "reward"): {"reward"},
    ("tasks/ppo.py", "ppo"): {"ppo"},
    ("tasks/evaluate.py", "evaluate"): {"evaluate"},
    # What training computes with reruns all models, down to the helper three imports away.
    ("model/attention.py", "attend"): MODELS,
    ("model/rotary.py", "rotary_tables"): MODELS,
    ("model/training.py", "train"): {"pretrain", "finetune", "reward"},
    ("model/advantages.py", "gae"): {"ppo"},
    ("model/preference.py", "pairwise_loss"): {"reward"},
    ("model/bpe.py", "learn"): {"tokenize"},
    # The sampler: whoever writes text with it.
    ("model/sampling.py", "choose"): MODELS - {"reward"},
    ("model/decoding.py", "fuse"): MODELS - {"reward"},
    ("model/compiled_kernels.py", "attend"): MODELS - {"reward"},
    ("model/compiled_products.py", "columns"): MODELS,
    ("model/compiled_products.py", "_multiply_panels"): MODELS,
    ("model/vector_tile.py", "tile"): MODELS,
    ("model/widened_kernels.py", "lay_out"): MODELS,
    ("model/vectors.py", "swap_neighbours"): MODELS,
    ("model/vectors.py", "exp"): {*MODELS, *DATA, "clean", "decontaminate"},  # languages are told with it
    ("model/pointers.py", "moved"): MODELS,
    ("model/attention_kernels.py", "derive"): MODELS,
    ("model/layouts.py", "_product"): MODELS,
    ("model/tiles.py", "add_blocks"): MODELS,
    # How text is processed.
    ("tasks/text/minhash.py", "signatures"): {"collect", "pair", "deduplicate"},  # what is forgotten is known by them
    ("tasks/text/wording.py", "words_of"): {"pair", "decontaminate", "evaluate"},
    ("tasks/text/docstrings.py", "documented_objects"): DATA,
    ("tasks/text/chrf.py", "chrf_scores"): {"finetune", "rank", "ppo", "evaluate"},
    ("tasks/text/questions.py", "ask"): {"pair"},
    ("tasks/text/pretokens.py", "split_words"): {"tokenize"},
    ("tasks/mixture.py", "draw"): {"mix"},
    # The report is part of what `evaluate` makes; the page about lineage is part of nothing.
    ("tasks/report/report_page.py", "render"): {"evaluate"},
    ("tasks/report/lineage_page.py", "render"): set(),
    ("tasks/report/publication.py", "write"): set(),
    # The engine, the mirror and the command line are no part of any result.
    ("tasks/lineage/store.py", "commit"): set(),
    ("tasks/lineage/execute.py", "execute"): set(),
    ("tasks/tracking/runs.py", "begin"): set(),
    ("tasks/stage.py", "stage"): set(),
    ("flows/course.py", "train_course"): set(),
}

UNSEEN = (
    "model/attention.py",
    "model/generation.py",
    "tasks/pretrain.py",
    "tasks/clean.py",
    "tasks/report/report_page.py",
)
"""Files whose comments, docstrings and layout are changed, all at once."""


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder, so that only edited files are read anew."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("PEDIGREE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def tree(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree."""
    copied = tmp_path_factory.mktemp("tree")
    for package in ("model", "tasks", "flows"):
        shutil.copytree(ROOT / package, copied / package, ignore=shutil.ignore_patterns("__pycache__"))
    return copied


def digests(root: Path) -> dict[str, dict[str, str]]:
    """Stage → what its fingerprint is made of, with the sources below `root`."""
    code = Codebase(root)
    return {name: reach(code, beginnings(stage.function, stage.config_type)[1]) for name, stage in STAGES.items()}


@pytest.fixture(scope="module")
def before(tree: Path) -> dict[str, dict[str, str]]:
    return digests(tree)


def edited(source: str, function: str) -> str:
    """The source with a statement put at the beginning of a function or method."""
    nodes = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef) and node.name == function
    ]
    assert nodes, f"there is no function {function} any more; name another one in the table"
    first = nodes[0].body[0]
    lines = source.splitlines(keepends=True)
    place = first.lineno - 1
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        place = first.end_lineno or first.lineno
    lines.insert(place, " " * first.col_offset + "edited = 1\n")
    return "".join(lines)


@pytest.mark.parametrize(("place", "reruns"), EDITS.items(), ids=[f"{file}:{name}" for file, name in EDITS])
def test_an_edit_reruns_these_stages(
    place: tuple[str, str], reruns: set[str], tree: Path, before: dict[str, dict[str, str]]
) -> None:
    file, function = place
    source = (tree / file).read_text()
    (tree / file).write_text(edited(source, function))
    try:
        after = digests(tree)
    finally:
        (tree / file).write_text(source)
    assert {name for name in before if after[name] != before[name]} == reruns
    module = file.removesuffix(".py").replace("/", ".")
    for name in reruns:
        changed = {item for item in after[name] if after[name][item] != before[name].get(item)}
        assert all(item.startswith(f"{module}:") for item in changed), changed


def test_comments_docstrings_and_layout_rerun_nothing(tree: Path, before: dict[str, dict[str, str]]) -> None:
    sources = {file: (tree / file).read_text() for file in UNSEEN}
    try:
        for file, source in sources.items():
            docstring = ast.get_docstring(ast.parse(source), clean=False)
            assert docstring
            changed = source.replace(docstring, "Says something else.", 1).replace("\n\n\n", "\n\n\n# a comment\n\n")
            (tree / file).write_text(changed + "\n\n# the end\n")
        assert digests(tree) == before
    finally:
        for file, source in sources.items():
            (tree / file).write_text(source)


def test_every_stage_is_in_the_table() -> None:
    assert {name for reruns in EDITS.values() for name in reruns} == set(STAGES)
