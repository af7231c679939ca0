"""Which edit to a repository changes what a stage's code digest says, and which does not."""
# ruff: noqa: E501 (a table of small programs reads best with one program a line)

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.lineage.codebase import Codebase
from tasks.lineage.errors import ConfigError
from tasks.lineage.fingerprint import fingerprint, reach
from tasks.lineage.resolve import Node

FILES = {
    "shop/__init__.py": "",
    "shop/stage.py": '''
"""The stage."""
import json
from typing import TYPE_CHECKING

import shop.deep.far as far
from shop import near
from shop.near import Base, shorten as cut
from shop.settings import Settings

if TYPE_CHECKING:
    from shop.unused import Heavy

def bake(run, corpus: "Heavy", config: Settings):
    """Bakes."""
    # the oven
    near_value = near.heat(3)
    loaf = Loaf(cut("abc"))
    from shop.late import finish
    return finish(loaf.rise(), far.reach(), json.dumps(near_value))

class Loaf(Base):
    """A loaf."""
    size: int = 3
    def rise(self) -> int:
        return self.size + self.base()

def unrelated():
    return OTHER

OTHER = 7
''',
    "shop/near.py": """
from shop import middle
SCALE = 2
LOCAL_ONLY = 1
def heat(degrees):
    LOCAL_ONLY = 5
    return middle.warm(degrees) * SCALE + LOCAL_ONLY
class Base:
    def base(self): return 1
def shorten(text): return text[:2]
def unrelated(): return 0
""",
    "shop/middle.py": "from shop.deep import far\ndef warm(x):\n    return far.hot(x)\ndef cold(x):\n    return -x\n",
    "shop/deep/__init__.py": "",
    "shop/deep/far.py": """
try:
    import fastmath as maths
except ImportError:
    import math as maths
def hot(x): return maths.floor(x)
def reach(): return LIMITS["a"]
LIMITS = {"a": 1}
""",
    "shop/late.py": "import shop.registry\ndef finish(*parts):\n    return shop.registry.READERS, parts\n",
    "shop/registry.py": """
READERS = {}
def register(name):
    def keep(function):
        READERS[name] = function
        return function
    return keep
@register("html")
def read_html(): return "html"
""",
    "shop/settings.py": """
from pydantic import BaseModel
class Inner(BaseModel):
    depth: int = 1
class Settings(BaseModel):
    n: int = 1
    inner: Inner = Inner()
    def doubled(self): return self.n * 2
""",
    "shop/unused.py": "def heavy(): return 1\nclass Heavy: pass\n",
}

Edit = tuple[str, str, str]  # file, old text, new text

CHANGES: dict[str, Edit] = {
    "the stage's own code": ("shop/stage.py", "heat(3)", "heat(4)"),
    "a helper three imports away": ("shop/deep/far.py", "maths.floor(x)", "maths.ceil(x)"),
    "a constant": ("shop/near.py", "SCALE = 2", "SCALE = 3"),
    "a constant two modules away": ("shop/deep/far.py", '{"a": 1}', '{"a": 2}'),
    "a conditional import": ("shop/deep/far.py", "import math as maths", "import cmath as maths"),
    "a method": ("shop/stage.py", "self.size + ", "self.size - "),
    "a field of a class": ("shop/stage.py", "size: int = 3", "size: int = 4"),
    "a method of a base class": ("shop/near.py", "def base(self): return 1", "def base(self): return 2"),
    "a helper imported under another name": ("shop/near.py", "text[:2]", "text[:1]"),
    "what a name is imported from": ("shop/stage.py", "shorten as cut", "unrelated as cut"),
    "which library a name comes from": ("shop/stage.py", "import json", "import simplejson as json"),
    "a function imported inside a function": ("shop/late.py", "READERS, parts", "READERS"),
    "a definition that registers itself": ("shop/registry.py", 'return "html"', 'return "HTML"'),
    "what a module does when imported": ("shop/near.py", "SCALE = 2", "SCALE = 2\nmiddle.cold(1)"),
    "a monkeypatch": ("shop/middle.py", "def cold", "far.hot = None\ndef cold"),
    "a reassignment": ("shop/near.py", "SCALE = 2", "SCALE = 2\nSCALE += 1"),
    "what a package does when imported": ("shop/deep/__init__.py", "", "print(1)"),
    "a method of the settings": ("shop/settings.py", "self.n * 2", "self.n * 3"),
    "a decorator": ("shop/near.py", "def heat", "@middle.cold\ndef heat"),
    "a default": ("shop/near.py", "def heat(degrees)", "def heat(degrees=1)"),
}

NO_CHANGES: dict[str, Edit] = {
    "a docstring": ("shop/stage.py", '"""Bakes."""', '"""Bakes bread."""'),
    "no docstring": ("shop/stage.py", '    """A loaf."""\n', ""),
    "a module docstring": ("shop/stage.py", '"""The stage."""', ""),
    "a comment": ("shop/stage.py", "# the oven", "# the other oven"),
    "layout": (
        "shop/near.py",
        "return middle.warm(degrees) * SCALE",
        "return (middle.warm(\n        degrees) * SCALE)",
    ),
    "quotes": ("shop/deep/far.py", 'LIMITS["a"]', "LIMITS['a']"),
    "an annotation": ("shop/near.py", "def heat(degrees):", "def heat(degrees: float) -> float:"),
    "a quoted annotation": ("shop/stage.py", 'corpus: "Heavy"', "corpus: 'Heavy'"),
    "an unrelated function of the same module": (
        "shop/near.py",
        "def unrelated(): return 0",
        "def unrelated(): return 1",
    ),
    "an unrelated function of a module on the way": ("shop/middle.py", "return -x", "return x"),
    "an unrelated constant": ("shop/stage.py", "OTHER = 7", "OTHER = 8"),
    "a constant that a local name hides": ("shop/near.py", "LOCAL_ONLY = 1", "LOCAL_ONLY = 2"),
    "the order of definitions": ("shop/middle.py", "", "def new(): return 1\n"),
    "a module imported for types only": ("shop/unused.py", "return 1", "return 2"),
    "a new field of the settings": ("shop/settings.py", "n: int = 1", "n: int = 1\n    m: int = 2"),
    "a new field of nested settings": ("shop/settings.py", "depth: int = 1", "depth: int = 1\n    width: int = 2"),
    "a script's main block": ("shop/near.py", "SCALE = 2", 'SCALE = 2\nif __name__ == "__main__":\n    heat(1)'),
}


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def reached(root: Path) -> dict[str, str]:
    start = [Node("definition", "shop.stage", "bake"), Node("behaviour", "shop.settings", "Settings")]
    return reach(Codebase(root), start)


def edited(root: Path, edit: Edit) -> tuple[dict[str, str], dict[str, str]]:
    """What is reached before and after an edit."""
    before = reached(write(root / "before", FILES))
    name, old, new = edit
    assert old in FILES[name]
    changed = {**FILES, name: FILES[name].replace(old, new, 1)}
    return before, reached(write(root / "after", changed))


@pytest.mark.parametrize("edit", CHANGES.values(), ids=CHANGES)
def test_an_edit_of_what_is_reached_changes_the_digest(edit: Edit, tmp_path: Path) -> None:
    before, after = edited(tmp_path, edit)
    assert before != after


@pytest.mark.parametrize("edit", NO_CHANGES.values(), ids=NO_CHANGES)
def test_an_edit_of_what_does_not_matter_changes_nothing(edit: Edit, tmp_path: Path) -> None:
    before, after = edited(tmp_path, edit)
    assert before == after


def test_a_change_is_named(tmp_path: Path) -> None:
    before, after = edited(tmp_path, CHANGES["a helper three imports away"])
    assert [name for name in after if after[name] != before[name]] == ["shop.deep.far:hot"]


def test_everything_reached_is_listed_and_nothing_else(tmp_path: Path) -> None:
    assert sorted(reached(write(tmp_path, FILES))) == [
        "shop.deep.far:LIMITS", "shop.deep.far:hot", "shop.deep.far:maths", "shop.deep.far:reach", "shop.late:finish",
        "shop.middle:warm", "shop.near:Base", "shop.near:SCALE", "shop.near:heat", "shop.near:shorten",
        "shop.registry:<effects>", "shop.registry:READERS", "shop.registry:register", "shop.settings:Inner",
        "shop.settings:Settings", "shop.stage:Loaf", "shop.stage:bake",
    ]  # fmt: skip


DYNAMIC: dict[str, tuple[str, str]] = {
    "getattr on a module": ("import shop.near as near\ndef bake(run): return getattr(near, 'un' + 'related')()", "shop/near.py"),
    "a module passed on": ("from shop import near\ndef bake(run): return vars_of(near)\nvars_of = dir", "shop/near.py"),
    "a star import": ("from shop.near import *\ndef bake(run): return unrelated()", "shop/near.py"),
    "a literal import": ("import importlib\ndef bake(run): return importlib.import_module('shop.near')", "shop/near.py"),
    "a computed import": ("from importlib import import_module\ndef bake(run, x): return import_module(x)", "shop/near.py"),
    "a relative import": ("from .near import unrelated\ndef bake(run): return unrelated()", "shop/near.py"),
    "globals": ("def bake(run): return globals()['helper']()\ndef helper(): return 1", "shop/stage.py"),
    "sys.modules": ("import sys\ndef bake(run): return sys.modules['shop.near']", "shop/near.py"),
    "a name through another module": ("from shop.door import unrelated\ndef bake(run): return unrelated()", "shop/near.py"),
    "an attribute through another module": ("from shop import door\ndef bake(run): return door.near.unrelated()", "shop/near.py"),
    "a nested function": ("from shop import near\ndef bake(run):\n  def inner(): return near.unrelated()\n  return inner()", "shop/near.py"),
    "a subclass that is announced": ("import shop.plugins\nfrom shop.hook import Hook\ndef bake(run): return Hook.known", "shop/plugins.py"),
}  # fmt: skip


@pytest.mark.parametrize(("source", "where"), DYNAMIC.values(), ids=DYNAMIC)
def test_what_cannot_be_resolved_counts_whole(source: str, where: str, tmp_path: Path) -> None:
    files = {
        **FILES,
        "shop/stage.py": source,
        "shop/door.py": "from shop import near\nfrom shop.near import unrelated\n",
        "shop/hook.py": "class Hook:\n    known = []\n    def __init_subclass__(cls): Hook.known.append(cls)\n",
        "shop/plugins.py": "from shop.hook import Hook\nclass Plugin(Hook):\n    def unrelated(self): return 0\n",
    }
    old, new = ("return 0", "return 1") if "return 0" in files[where] else ("return 1", "return 2")
    start = [Node("definition", "shop.stage", "bake")]
    before = reach(Codebase(write(tmp_path / "before", files)), start)
    after = reach(Codebase(write(tmp_path / "after", {**files, where: files[where].replace(old, new)})), start)
    assert before != after


def test_a_file_read_beside_the_code_counts(tmp_path: Path) -> None:
    source = "from pathlib import Path\ndef bake(run): return Path(__file__).with_name('page.html').read_text()\n"
    start = [Node("definition", "shop.stage", "bake")]
    pages = ["<p>one</p>", "<p>two</p>"]
    digests = [
        reach(Codebase(write(tmp_path / str(n), {"shop/stage.py": source, "shop/page.html": page})), start)
        for n, page in enumerate(pages)
    ]
    assert digests[0] != digests[1]


def test_an_import_cycle_ends(tmp_path: Path) -> None:
    files = {
        "shop/stage.py": "from shop.a import x\ndef bake(run): return x\n",
        "shop/a.py": "from shop.b import x\n",
        "shop/b.py": "from shop.a import x\n",
    }
    assert list(reach(Codebase(write(tmp_path, files)), [Node("definition", "shop.stage", "bake")])) == [
        "shop.stage:bake"
    ]


def test_the_engine_does_not_count(tmp_path: Path) -> None:
    files = {
        "tasks/lineage/store.py": "def commit(): return 1\n",
        "tasks/bake.py": "from tasks.lineage.store import commit\ndef bake(run): return commit()\n",
    }
    start = [Node("definition", "tasks.bake", "bake")]
    assert list(reach(Codebase(write(tmp_path, files)), start)) == ["tasks.bake:bake"]


def test_unreadable_code_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    files = {**FILES, "shop/middle.py": "def warm(:\n"}
    with pytest.raises(ConfigError, match=r"middle\.py"):
        reached(write(tmp_path, files))


def test_an_edit_while_the_process_runs_changes_nothing(tmp_path: Path) -> None:
    """The process goes on executing what it loaded, so the digest has to go on saying so."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "import shop.stage\n"
        "from tasks.lineage.fingerprint import fingerprint, locate\n"
        "code, _ = locate(shop.stage.bake); code.remember_loaded()\n"
        "near = Path(sys.argv[1], 'shop/near.py'); near.write_text(near.read_text().replace('SCALE = 2', 'SCALE = 3'))\n"
        "print(fingerprint(shop.stage.bake).digest)\n"
    )
    digests = []
    for _ in range(2):
        write(tmp_path, FILES)
        run = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True, cwd=Path.cwd()
        )
        digests.append(run.stdout)
    edited_before_loading = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True, cwd=Path.cwd()
    ).stdout
    assert digests[0] == digests[1] != edited_before_loading


def test_the_same_function_gives_the_same_digest() -> None:
    function: Callable[..., object] = write
    assert fingerprint(function).digest == fingerprint(function).digest
    assert "tests.unit.lineage.test_fingerprint:write" in fingerprint(function).definitions
