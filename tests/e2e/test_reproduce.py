"""The course up to PPO once more, from the sources and in an empty store: the same bytes."""

from typing import Any

import pytest

from tests.e2e.test_course import DATA_STAGES

pytestmark = pytest.mark.e2e


def test_the_aligned_model_is_made_again_to_the_byte(pedigree: Any, trained: Any) -> None:
    """Its pretraining was killed once and went on; here nothing interrupts it, and no server is asked."""
    nowhere = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    finished = pedigree("reproduce", trained.json["flows"]["train"]["stages"]["ppo"]["output"], "--json", **nowhere)
    assert finished.code == 0, finished.out + finished.err
    answer = finished.json
    assert answer["identical"] and answer["first_difference"] is None
    made = {stage["stage"]: stage for stage in answer["stages"]}
    assert set(made) == {"snapshot", *DATA_STAGES, "pretrain", "finetune", "rank", "reward", "ppo"}
    for name, stage in made.items():
        assert stage["made"] == trained.json["flows"]["train"]["stages"][name]["output"]
        assert not stage["found"] and stage["causes"] == [] and stage["numerics"] == []
    assert "ppo: made in" in finished.err
