"""What the benchmarks against other programs share: rows of figures, environments for the others, a table and a plot.

A benchmark measures both sides in one run, each in a process of its own, and reports the ratio. `against` programs are
installed in a virtual environment beside the figures, never in the project's own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flows.environment import COMPUTING
from tasks.lineage.home import home

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "ARROW_NUM_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)


@dataclass(frozen=True)
class Row:
    """One comparison. ratio: how many times better ours is, whichever way the unit points; at_least: the aim.

    ours and theirs are in `unit`. versions: of what was compared, by name. note: what a reader must know to judge it.
    """

    work: str
    against: str
    ours: float
    theirs: float
    ratio: float
    unit: str
    versions: dict[str, str] = field(default_factory=dict)
    at_least: float | None = None
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the aim was reached; None where there is none."""
        return None if self.at_least is None else self.ratio >= self.at_least


def folder() -> Path:
    """Where figures, plots and the other programs' environments are kept."""
    path = home() / "bench"
    path.mkdir(parents=True, exist_ok=True)
    return path


def environment(name: str, requirements: Sequence[str], packages_of_project: bool = False) -> Path:
    """The Python of a virtual environment that holds `requirements`, made at first use.

    Raises CalledProcessError, with what pip said.

    packages_of_project: the environment also sees the project's own packages (the other side then runs beside the same
    torch, numpy or pyarrow).
    """
    place = folder() / "environments" / name
    python, stamp = place / "bin" / "python", place / "installed.json"
    wanted = json.dumps(sorted(requirements))
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    print(f"Installing {', '.join(requirements)} …", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(place)], check=True)
    if packages_of_project:
        own = Path(sys.prefix) / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
        link = place / "lib" / own.parent.name / "site-packages" / "project.pth"
        link.write_text(f"{own}\n")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, *requirements], stderr=subprocess.PIPE, text=True)
    print(done.stderr, end="", file=sys.stderr)
    done.check_returncode()
    stamp.write_text(wanted)
    return python


def in_process(
    command: Sequence[str], env: Mapping[str, str] | None = None, timeout: float | None = None
) -> tuple[dict[str, object], float]:
    """Run a command that prints one JSON object as its last line, in the environment that `pedigree up` gives to its
    processes: the object, and the seconds by the clock. Raises SubprocessError where it fails or takes longer."""
    began, variables = time.perf_counter(), {**COMPUTING, **os.environ, **(env or {})}
    done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True, check=True, timeout=timeout)
    return json.loads(done.stdout.strip().splitlines()[-1]), time.perf_counter() - began


def write(name: str, rows: Sequence[Row]) -> Path:
    """Write the rows to `.pedigree/bench/NAME.json`; those of the same work and opponent are replaced."""
    path = folder() / f"{name}.json"
    before = json.loads(path.read_text()) if path.is_file() else []
    fresh = {(row.work, row.against) for row in rows}
    kept = [row for row in before if (row["work"], row["against"]) not in fresh]
    path.write_text(json.dumps(kept + [asdict(row) for row in rows], indent=2, ensure_ascii=False) + "\n")
    return path


def show(title: str, rows: Sequence[Row]) -> None:
    """The rows as a table on the terminal."""
    table = Table(title=title)
    for heading in ("work", "against", "ours", "theirs", "unit", "ratio", "at least"):
        table.add_column(heading, justify="left" if heading in ("work", "against", "unit") else "right")
    for row in rows:
        aim = "" if row.at_least is None else f"{row.at_least:g}{'' if row.reached else ' MISSED'}"
        numbers = (f"{row.ours:.4g}", f"{row.theirs:.4g}", row.unit, f"{row.ratio:.2f}", aim)
        table.add_row(row.work, row.against, *numbers)
    Console().print(table)


def plot(name: str, title: str, rows: Sequence[Row]) -> Path:
    """A bar for each ratio on a logarithmic axis, with the aims marked, as `.pedigree/bench/NAME.png`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.4 * len(rows)), layout="constrained")
    names = [f"{row.work}\nagainst {row.against}" for row in rows]
    places = range(len(rows))
    axes.barh(
        places, [row.ratio for row in rows], color=["#c0504d" if row.reached is False else "#4f81bd" for row in rows]
    )
    for place, row in zip(places, rows, strict=True):
        axes.text(row.ratio, place, f" {row.ratio:.2f}×", va="center")
        if row.at_least is not None:
            axes.plot([row.at_least] * 2, [place - 0.45, place + 0.45], color="black", linewidth=2)
    axes.set(xscale="log", title=title, xlabel="times better (black line: the aim)", yticks=list(places))
    axes.set_yticklabels(names, fontsize=8)
    axes.invert_yaxis()
    path = folder() / f"{name}.png"
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path
