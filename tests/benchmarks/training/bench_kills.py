"""Twenty kills at random moments of every training stage: does each end with the bytes of a run left alone?

python -m tests.benchmarks.training.bench_kills [--kills 20] [--only ppo]
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tasks.lineage.home import home
from tests.faults.kills import STAGES, Way, run

WAYS = {
    "fp32": Way(),
    "bf16": Way(precision="bf16"),
    "compiled bf16": Way(precision="bf16", compile=True),
}
COMPILED = ("pretrain", "finetune")  # the stages that torch.compile is offered for; the others take bf16 as it is


def main() -> int:
    """Prints a line a stage and writes `bench/kills.json`; 1 if any bytes differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="kills of each run")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the moments")
    parser.add_argument("--only", action="append", choices=STAGES, help="this stage (may be given again)")
    options = parser.parse_args()
    path = home() / "bench" / "kills.json"
    rows = {(row["stage"], row["way"]): row for row in json.loads(path.read_text())} if path.exists() else {}
    for stage in options.only or STAGES:
        for name in ("fp32", "bf16", "compiled bf16") if stage in COMPILED else ("fp32", "bf16"):
            rows[stage, name] = row = _one(stage, name, options.kills, options.seed)
            same = "the same bytes" if row["same_bytes"] else "OTHER BYTES"
            print(f"{stage:9} {name:14} {row['kills']} kills, {row['seconds']:.0f} s: {same}", flush=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps([rows[key] for key in sorted(rows)], indent=2) + "\n", encoding="utf-8")
    return 0 if all(row["same_bytes"] for row in rows.values()) else 1


def _one(stage: str, name: str, kills: int, seed: int) -> dict[str, object]:
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    try:
        whole = run(folder / "whole", stage, WAYS[name])
        killed = run(folder / "killed", stage, WAYS[name], kills, seed)
    finally:
        for path in [folder, *folder.rglob("*")]:
            if path.is_dir():
                path.chmod(0o755)  # outputs in a store are read-only
        shutil.rmtree(folder)
    return {
        "stage": stage,
        "way": name,
        "kills": len(killed.killed_at),
        "killed_after_steps": killed.killed_at,
        "same_bytes": killed.digest == whole.digest,
        "digest": whole.digest,
        "seconds": round(time.monotonic() - began, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
