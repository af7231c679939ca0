"""One of the processes that torchrun starts for a stage: `torchrun … -m tasks.torchrun_worker WORK_FOLDER`.

See tasks/torchrun.py, which writes the work folder and starts this; on further machines a person or a work pool does.
"""

import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model.distributed import process_group
from model.precision import resolve_device
from model.stopping import TrainingStopped
from tasks import finetune, ppo, pretrain, reward
from tasks.lineage.files import write_atomically
from tasks.lineage.stage_run import StageRun
from tasks.torchrun import JOB, OWNED, PROGRESS, Job, tell_error

TRAINERS: dict[str, tuple[Any, Callable[..., Any]]] = {
    "pretrain": (pretrain.PretrainConfig, pretrain.learn),
    "finetune": (finetune.FinetuneConfig, finetune.learn),
    "reward": (reward.RewardConfig, reward.learn),
    "ppo": (ppo.PPOConfig, ppo.learn),
}


def work(folder: Path) -> None:
    """Train as one rank of the job in `folder`."""
    job = Job.model_validate_json((folder / JOB).read_bytes())
    config_type, learn = TRAINERS[job.stage]
    device = resolve_device(job.resources.device)
    with process_group(device) as ranks:
        logging.basicConfig(level=logging.INFO if ranks.first else logging.WARNING, format="%(message)s")
        run = StageRun(
            folder / "output",
            folder,
            job.metrics_file,
            logging.getLogger(f"pedigree.{job.stage}"),
            on_progress=lambda progress: write_atomically(folder / PROGRESS, json.dumps(progress).encode()),
        )
        try:
            learn(run, **job.inputs, config=config_type.model_validate(job.config), resources=job.resources)
        except TrainingStopped:
            raise
        except Exception as error:
            tell_error(folder, error)
            raise


def _end_with_the_stage() -> None:
    """Standard input ends when the stage's process was killed: another may begin the same work at once."""
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    if os.environ.get(OWNED):
        threading.Thread(target=_end_with_the_stage, daemon=True).start()
    work(Path(sys.argv[1]))
