import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tasks.lineage.record import Output, Record, StoredFile
from tasks.lineage.store import Store
from tasks.report import publication


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def put(stage: str, kind: str, *inputs: Record, metrics: dict[str, float] | None = None, order: int = 0) -> Record:
    record = Record(
        key=sha(f"key {stage}"),
        stage=stage,
        inputs={made.stage: made.artifact for made in inputs},
        config={},
        code={},
        code_digest=sha("code"),
        versions={},
        output=Output(kind=kind, digest=sha(stage), files=[StoredFile(path="a", size=7, sha256=sha("a"))]),
        metrics=metrics or {},
        wall_seconds=1,
        cpu_seconds=1,
        energy_wh=0,
        numerics={},
        flow_run_id="flow-9",
        mlflow_run_id=f"run-of-{stage}",
        created=f"2026-01-02T03:04:{order:02d}.000+00:00",
    )
    Store().write_record(record)
    return record


def graph_of(page: Path) -> dict[str, Any]:
    text = page.read_text(encoding="utf-8")
    return dict(json.loads(text.partition('id="data">')[2].partition("</script>")[0]))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))


def test_the_lineage_page_holds_exactly_the_ancestors_with_links_to_both_servers(tmp_path: Path) -> None:
    corpus = put("collect", "corpus")
    model = put("pretrain", "model", corpus)
    put("unrelated", "corpus")
    subject = put("finetune", "model", model, corpus)
    publication.write(
        subject.model_dump(mode="json"), tmp_path, lambda run: f"http://m/{run}", "http://p/runs/flow-run/flow-9"
    )
    graph = graph_of(tmp_path / "lineage.html")
    assert sorted(node["stage"] for node in graph["nodes"]) == ["collect", "finetune", "pretrain"]
    assert graph["target"] == subject.key
    assert [corpus.key, model.key] in graph["edges"] and len(graph["edges"]) == 3
    [shown] = [node for node in graph["nodes"] if node["stage"] == "pretrain"]
    assert shown["mlflow_url"] == "http://m/run-of-pretrain"
    assert shown["prefect_url"] == "http://p/runs/flow-run/flow-9"


def test_an_ancestor_whose_record_is_gone_is_left_out(tmp_path: Path) -> None:
    corpus = put("collect", "corpus")
    subject = put("pretrain", "model", corpus)
    Store().record_path(corpus.key).unlink()
    publication.write(subject.model_dump(mode="json"), tmp_path, lambda run: "")
    graph = graph_of(tmp_path / "lineage.html")
    assert [node["stage"] for node in graph["nodes"]] == ["pretrain"] and graph["edges"] == []


def test_curves_are_drawn_from_what_the_stage_logged_and_drops_from_its_figures(tmp_path: Path) -> None:
    trained = put("pretrain", "model")
    rows = [{"step": step, "time": 1.0, "metrics": {"train/loss": 1.0 / (step + 1)}} for step in range(5)]
    path = Store().metrics_path(trained.key)
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    publication.write_plots(trained.model_dump(mode="json"), tmp_path)
    assert sorted(file.name for file in (tmp_path / "plots").iterdir()) == ["curves.png", "curves.svg"]
    cleaned = put("clean", "corpus", metrics={"documents_kept": 5, "dropped/short": 2})
    publication.write_plots(cleaned.model_dump(mode="json"), tmp_path)
    assert (tmp_path / "plots" / "documents.svg").is_file()


def test_a_mixture_is_drawn_as_wanted_and_as_realised(tmp_path: Path) -> None:
    figures = {"mix/my books/wanted_share": 0.75, "mix/my books/share": 0.7, "mix/my books/tokens": 9.0, "documents": 1}
    assert publication.mixture_of(figures) == {"my books": {"wanted": 0.75, "realised": 0.7}}
    publication.write_plots(put("mix", "tokens", metrics=figures).model_dump(mode="json"), tmp_path)
    assert [file.name for file in sorted((tmp_path / "plots").iterdir())] == ["mixture.png", "mixture.svg"]


def test_the_funnel_follows_the_order_of_the_work() -> None:
    records = [
        put("deduplicate", "corpus", metrics={"documents_kept": 3, "dropped/twin": 2, "dropped/none": 0}, order=2),
        put("collect", "corpus", metrics={"documents_kept": 5}, order=1),
        put("pretrain", "model", metrics={"eval/bits_per_byte": 1.0}, order=3),
    ]
    found = publication.funnel_of({record.key: record for record in records})
    assert [(funnel.stage, funnel.kept, dict(funnel.dropped)) for funnel in found] == [
        ("collect", 5, {}),
        ("deduplicate", 3, {"twin": 2}),
    ]


def test_fertility_is_drawn_by_group_and_by_script(tmp_path: Path) -> None:
    figures = {"fertility/tokens_per_word": 1.5, "fertility/language/de/tokens_per_word": 2.0,
               "fertility/language/de/bytes_per_token": 3.0, "fertility/script/CJK/whole_share": 0.1}  # fmt: skip
    panels = publication.fertility_of(figures)
    assert panels["Tokens a word"] == {"language: de": {"tokens_per_word": 2.0}}
    assert panels["Characters known whole (share)"] == {"script: CJK": {"whole_share": 0.1}}
    publication.write_plots(put("tokenize", "tokens", metrics=figures).model_dump(mode="json"), tmp_path)
    assert [file.name for file in sorted((tmp_path / "plots").iterdir())] == ["fertility.png", "fertility.svg"]
