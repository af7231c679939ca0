import os
import random

import numpy as np
import pytest
import torch
from torch import nn

from model.checkpoint import (
    CheckpointClock,
    CheckpointMismatch,
    Checkpoints,
    model_tensors,
    note_other_numerics,
    numerics,
    random_state,
    restore_model,
    restore_random_state,
)


def save(checkpoints, *steps):
    for step in steps:
        checkpoints.save(step, {"a": torch.full((3, 2), float(step))}, {"note": [step, None, "x"]})


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    save(Checkpoints(tmp_path), 5)
    checkpoint = Checkpoints(tmp_path).newest()
    assert checkpoint.step == 5 and checkpoint.state == {"note": [5, None, "x"]}
    assert torch.equal(checkpoint.tensors["a"], torch.full((3, 2), 5.0))


def test_the_last_two_are_kept(tmp_path):
    save(Checkpoints(tmp_path), 1, 2, 10, 9)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000009", "step-00000010"]


def test_an_empty_folder_has_none(tmp_path):
    assert Checkpoints(tmp_path / "new").newest() is None


@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "delete", "another kind of JSON"])
def test_a_damaged_newest_is_passed_over(tmp_path, file, damage, caplog):
    save(Checkpoints(tmp_path), 1, 2)
    path = tmp_path / "step-00000002" / file
    content = path.read_bytes()
    if damage == "truncate":
        path.write_bytes(content[:-5])
    elif damage == "flip":
        path.write_bytes(content[:-8] + bytes([content[-8] ^ 1]) + content[-7:])
    elif damage == "delete":
        path.unlink()
    else:
        path.write_text("[1, 2]")
    assert Checkpoints(tmp_path).newest().step == 1
    assert "step-00000002 is damaged" in caplog.text
    save(Checkpoints(tmp_path), 2)
    assert Checkpoints(tmp_path).newest().step == 2


def test_a_kill_while_writing_leaves_the_old_one_and_no_rubbish(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1)

    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("model.checkpoint.fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            save(checkpoints, 2)
    assert Checkpoints(tmp_path).newest().step == 1
    save(checkpoints, 3)
    assert sorted(os.listdir(tmp_path)) == ["step-00000001", "step-00000003"]


def test_a_tied_weight_is_saved_once_and_restored_to_both_names():
    def tied():
        model = nn.ModuleDict({"embed": nn.Embedding(4, 3), "head": nn.Linear(3, 4, bias=False)})
        model["head"].weight = model["embed"].weight
        return model

    model, other = tied(), tied()
    tensors = model_tensors(model)
    assert list(tensors) == ["model.embed.weight"]
    restore_model(other, {name: tensor.clone() for name, tensor in tensors.items()})
    assert torch.equal(other["head"].weight, model["head"].weight)


def test_another_model_is_refused():
    with pytest.raises(CheckpointMismatch, match="another model"):
        restore_model(nn.Linear(2, 3), model_tensors(nn.Linear(3, 2)))
    with pytest.raises(CheckpointMismatch, match="another model"):
        restore_model(nn.Linear(2, 3), model_tensors(nn.Linear(2, 3, bias=False)))


def test_all_global_generators_are_restored(tmp_path):
    random.gauss(0, 1), np.random.standard_normal()  # leaves a cached second draw in both
    tensors, state = random_state()
    Checkpoints(tmp_path).save(1, tensors, state)
    drawn = [(torch.rand(3).tolist(), random.gauss(0, 1), np.random.standard_normal(3).tolist())]
    checkpoint = Checkpoints(tmp_path).newest()
    restore_random_state(checkpoint.tensors, checkpoint.state)
    drawn.append((torch.rand(3).tolist(), random.gauss(0, 1), np.random.standard_normal(3).tolist()))
    assert drawn[0] == drawn[1]


def test_other_numerics_are_named(caplog):
    here = numerics()
    assert note_other_numerics(here, numerics()) == [] and caplog.text == ""
    assert note_other_numerics({**here, "threads": 64}, here) == [f"threads: 64 -> {here['threads']}"]
    assert "other numerics" in caplog.text


def test_the_clock_bounds_the_share_of_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("model.checkpoint.time.monotonic", lambda: now[0])
    clock = CheckpointClock(10, share=0.1)
    now[0] = 9.0
    assert not clock.due(1)
    now[0] = 10.0
    assert clock.due(1)
    with clock.measured():
        now[0] = 15.0  # saving took 5 s: the next is due 50 s later
    now[0] = 64.0
    assert not clock.due(1)
    now[0] = 65.0
    assert clock.due(1)
    assert CheckpointClock(0).due(1)


def test_the_clock_counts_steps_too():
    clock = CheckpointClock(1e9, every_steps=5)
    assert [step for step in range(1, 12) if clock.due(step)] == [5, 10]
