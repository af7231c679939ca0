"""One process of torchrun that takes itself for one of several, so that every collective is made: NCCL's on a GPU.

Prints the losses of a training, and of one whose model is divided, as JSON.
"""

import json
import logging

from model.distributed import Ranks, process_group
from model.training import TrainingConfig
from tests.on_gpu import DEVICE, learn

CONFIG = TrainingConfig(steps=4, lr=3e-3, accumulation=2)

if __name__ == "__main__":
    logging.getLogger("torch").setLevel(logging.ERROR)
    Ranks.together = property(lambda ranks: True)  # type: ignore[assignment,method-assign]
    with process_group(DEVICE) as ranks:
        assert ranks.gather(b"abc") == [b"abc"] and ranks.any([False, True], DEVICE) == [False, True]
        ranks.wait()
        print(json.dumps([learn(CONFIG, packed=True, divide_model=divided).losses for divided in (False, True)]))
