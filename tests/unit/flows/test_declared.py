import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from flows.presets import PRESETS
from model import processor
from model.precision import has_fast_bf16

PLAN = """
import json, sys
from flows.declared import WORK_ONLY, with_declarations
def answer(planning):
    asked = json.loads(sys.argv[1])
    return [planning.why(flow, preset, None, assignments, look=False) for flow, preset, assignments in asked]
before = with_declarations(answer)
stood_in = sorted(set(WORK_ONLY) & sys.modules.keys())
for name in [name for name in sys.modules if name.partition(".")[0] in ("flows", "tasks", "model")]:
    del sys.modules[name]
from flows import planning
print(json.dumps([before == answer(planning), stood_in, [stage["stage"] for stage in before[0]["stages"]]]))
"""


def run(script: str, *arguments: str, home: Path) -> object:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments], capture_output=True, text=True,
        env={"PEDIGREE_HOME": str(home), "PATH": "/usr/bin:/bin"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_plan_without_the_libraries_is_the_plan_with_them(tmp_path: Path) -> None:
    asked = [("train", preset, []) for preset in PRESETS] + [("data", "demo", ["clean.rejects_per_rule=3"])]
    same, loaded, stages = run(PLAN, json.dumps(asked), home=tmp_path)  # type: ignore[misc]
    assert same
    assert loaded == []
    assert "pretrain" in stages and "evaluate" in stages


def test_where_a_plan_asks_a_library_it_is_made_again_with_it(tmp_path: Path) -> None:
    """As on a machine whose torch is built for GPUs: whether there is one, only torch can say."""
    script = """
    import json, sys
    import model.processor
    model.processor.torch_is_built_for_gpu = lambda: True
    from flows.declared import with_declarations
    def answer(planning):
        import model.processor
        model.processor.torch_is_built_for_gpu = lambda: True
        from model import precision
        precision.torch_is_built_for_gpu = lambda: True
        return [stage["stage"] for stage in planning.why("train", "demo", None, [], look=False)["stages"]]
    print(json.dumps([answer_ := with_declarations(answer), "torch" in sys.modules]))
    """
    stages, loaded = run(script, home=tmp_path)  # type: ignore[misc]
    assert "pretrain" in stages
    assert loaded


def test_stand_ins_refuse_to_be_used() -> None:
    script = """
    import json, sys
    from flows import declared
    with declared._declarations_only():
        import torch
        from torch import nn
    refused = []
    for use in (
        lambda: bool(torch.cuda.is_available()), lambda: torch.device("cuda").type, lambda: torch.float32 == "fp32",
        lambda: bool(torch.cuda), lambda: nn.Linear(1, 1) == 1,
    ):
        try:
            use()
        except declared.StandInUsed:
            refused.append(True)
    class Net(nn.Module):
        @torch.inference_mode()
        def forward(self, x: torch.Tensor | None) -> int:
            return 7
    import torch as real
    print(json.dumps([len(refused), Net.__name__, Net().forward(None), real.ones(2).sum().item()]))
    """
    assert run(script, home=Path("/tmp")) == [5, "Net", 7, 2.0]


def test_the_processor_is_told_as_torch_tells_it() -> None:
    said = torch.cpu.get_capabilities()
    assert processor.has_bf16_products() == bool(said.get("amx_bf16") or said.get("avx512_bf16"))
    built = any((torch.version.cuda, torch.version.hip, torch.version.xpu))
    assert processor.torch_is_built_for_gpu() == built
    if not built:
        assert has_fast_bf16() == processor.has_fast_bf16_products()


@pytest.mark.parametrize(
    ("maker", "flags", "fast"),
    [
        ("GenuineIntel", "avx512f avx512_bf16 amx_tile amx_bf16", True),
        ("GenuineIntel", "avx512f avx512_bf16", False),
        ("AuthenticAMD", "avx512f avx512_bf16", True),
        ("AuthenticAMD", "avx2", False),
        ("", "", False),
    ],
)
def test_bf16_is_chosen_where_it_is_faster_than_fp32(
    monkeypatch: pytest.MonkeyPatch, maker: str, flags: str, fast: bool
) -> None:
    monkeypatch.setattr(processor, "_told", {"vendor_id": maker, "flags": flags}.__getitem__)
    asked = (processor.processor_flags, processor.has_bf16_products, processor.has_fast_bf16_products)
    for function in asked:
        monkeypatch.setattr(processor, function.__name__, function.__wrapped__)
    assert processor.has_fast_bf16_products() == fast


@pytest.mark.parametrize(
    ("most", "left"),
    [
        ("", "amx_bf16 amx_tile avx avx2 avx512_bf16 avx512f fma"),
        ("ALL", "amx_bf16 amx_tile avx avx2 avx512_bf16 avx512f fma"),
        ("AVX512_CORE_AMX", "amx_bf16 amx_tile avx avx2 avx512_bf16 avx512f fma"),
        ("avx512_core_bf16", "avx avx2 avx512_bf16 avx512f fma"),
        ("AVX512_CORE_FP16", "avx avx2 avx512_bf16 avx512f fma"),
        ("AVX512_CORE", "avx avx2 avx512f fma"),
        ("AVX2", "avx avx2 fma"),
        ("AVX", "avx"),
        ("SSE41", "avx"),
    ],
)
def test_what_torch_is_kept_from_is_not_used_here(monkeypatch: pytest.MonkeyPatch, most: str, left: str) -> None:
    every = "avx avx2 fma avx512f avx512_bf16 amx_tile amx_bf16"
    monkeypatch.setattr(processor, "_told", {"flags": every}.__getitem__)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", most)
    assert processor.processor_flags.__wrapped__() == set(left.split())


@pytest.mark.parametrize(
    ("says", "built"),
    [("cuda: Optional[str] = None\nhip: Optional[str] = None\n", False), ("cuda: Optional[str] = '13.0'\n", True),
     ("cuda: Optional[str] = None\nhip: Optional[str] = \"6.4\"\n", True)],
)  # fmt: skip
def test_the_build_of_torch_is_read_from_its_version_file(
    says: str, built: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "version.py").write_text(f"__version__ = '2.13.0'\n{says}")
    spec = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr(processor, "find_spec", lambda name: spec)
    processor.torch_is_built_for_gpu.cache_clear()
    try:
        assert processor.torch_is_built_for_gpu() is built
    finally:
        processor.torch_is_built_for_gpu.cache_clear()
