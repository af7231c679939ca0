"""A few kills at random moments of each training stage; `make bench-kills` does twenty of each."""

from pathlib import Path

import pytest

from tests.faults.kills import Way, run

EAGER, COMPILED = Way(), Way(precision="bf16", compile=True)


@pytest.mark.parametrize("stage", ["finetune", "reward"])
def test_killed_at_random_moments_it_ends_with_the_same_bytes(tmp_path: Path, stage: str) -> None:
    whole = run(tmp_path / "whole", stage, EAGER)
    killed = run(tmp_path / "killed", stage, EAGER, kills=3, seed=1)
    assert killed.digest == whole.digest
    assert len(killed.killed_at) == 3


def test_compiled_bf16_killed_at_random_moments_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", "pretrain", COMPILED)
    killed = run(tmp_path / "killed", "pretrain", COMPILED, kills=2, seed=2)
    assert killed.digest == whole.digest
    assert run(tmp_path / "eager", "pretrain", EAGER).digest != whole.digest, "bf16 was not used"


def test_how_many_threads_read_changes_no_byte_not_even_between_kills(tmp_path: Path) -> None:
    digests = {run(tmp_path / str(workers), "pretrain", Way(data_workers=workers)).digest for workers in (0, 1, 3)}
    mixed = run(tmp_path / "mixed", "pretrain", Way(data_workers=3), kills=2, seed=3)
    assert digests == {mixed.digest}
