"""Every benchmark of the data stages: `make bench-data`, or

    python -m tests.benchmarks.data.bench_data [NAME …]

NAME: of a module `bench_NAME.py` in this folder; without one all of them run. Each has a function `rows()`. The figures
go to `.pedigree/bench/data.json`, with a plot beside it.
"""

import argparse
import json
import sys
import time
from importlib import import_module
from pathlib import Path

from tests.benchmarks import rows

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The benchmarks there are."""
    return sorted(path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py") if path != Path(__file__))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(names())}")
    chosen = options.parse_args().names or names()
    if unknown := sorted(set(chosen) - set(names())):
        options.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(names())}")
    for name in chosen:
        began = time.monotonic()
        print(f"Benchmark {name} …", file=sys.stderr)
        rows.write("data", import_module(f"tests.benchmarks.data.bench_{name}").rows())
        print(f"Benchmark {name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    found = [rows.Row(**row) for row in json.loads((rows.folder() / "data.json").read_text(encoding="utf-8"))]
    rows.show("Data stages", found)
    print(f"{rows.folder() / 'data.json'}, {rows.plot('data', 'Data stages against other programs', found)}")


if __name__ == "__main__":
    main()
