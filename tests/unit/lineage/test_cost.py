import pytest

from tasks.lineage.config import Resources
from tasks.lineage.cost import numerics


def test_numerics_say_to_which_features_libraries_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    free = numerics(Resources())
    assert "limits" not in free
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert numerics(Resources()) == {**free, "limits": {"ONEDNN_MAX_CPU_ISA": "AVX2"}}
