import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.report import lineage_page

HOSTILE = '</script><img src=x onerror="window.hacked=1"><!--DATA-->"\'&'
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"


def node(name: str, stage: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "stage": stage, "kind": kind, "digest": name * 40, "key": f"key-{name}", **more}


def graph(**more: Any) -> dict[str, Any]:
    nodes = [
        node("a", "collect", "corpus", metrics={"documents_kept": 12345}),
        node("b", "pretrain", "model", mlflow_url="http://127.0.0.1:5000/#/runs/b", config={"lr": 0.01}),
        node("c", "ppo", "model", metrics={"eval/gold": 0.1712, "eval/gold_low": 0.16, "eval/gold_high": 0.18}, **more),
        node("d", "unrelated", "thing"),
    ]
    return {"nodes": nodes, "edges": [["a", "b"], ["b", "c"], ["a", "c"]]}


def test_boxes_show_stage_kind_short_digest_and_key_figures_without_javascript() -> None:
    page = lineage_page.render(graph(), "c", "Lineage of a model")
    drawing = page[page.index("<svg id") : page.index("</svg>")]
    for text in ("collect", "corpus", "aaaaaaaaaaaa", "12,345 documents", "0.171 gold score", "ppo"):
        assert f">{text}</text>" in drawing
    assert 'href="http://127.0.0.1:5000/#/runs/b"' in drawing
    assert drawing.count('class="node') == 4
    assert drawing.count("target") > 0


def test_edges_that_a_longer_way_stands_for_are_drawn_fainter() -> None:
    page = lineage_page.render(graph())
    faint = re.findall(r'class="edge shortcut" data-from="(\w)" data-to="(\w)"', page)
    assert faint == [("a", "c")]


def test_the_page_needs_no_network() -> None:
    page = lineage_page.render(graph(), "c")
    assert "default-src 'none'" in page
    assert not re.findall(r'(?:src|@import|url)\s*[=(]\s*["\']?(?:https?:)?//', page)
    assert not re.findall(r"<(?:link|script src|iframe|object|embed)", page)


def test_hostile_names_figures_and_addresses_stay_text() -> None:
    hostile = graph(
        config={HOSTILE: HOSTILE},
        git_commit=HOSTILE,
        mlflow_url="javascript:alert(1)",
        prefect_url=f"https://x/{HOSTILE}",
    )
    hostile["nodes"].append(node(HOSTILE, HOSTILE, HOSTILE, metrics={HOSTILE: 1.0}))
    hostile["edges"].append(["a", HOSTILE])
    page = lineage_page.render(hostile, HOSTILE, HOSTILE)
    assert "<img" not in page
    assert "javascript:" not in page
    assert page.count("</script>") == 2
    data = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["nodes"][2]["git_commit"] == HOSTILE


def test_the_same_graph_gives_the_same_page() -> None:
    assert lineage_page.render(graph(), "c") == lineage_page.render(json.loads(json.dumps(graph())), "c")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here; `apt-get install chromium` to check the page in a browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=FLAGS.split())
        yield started
        started.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Opens a graph's page and fails if the page complains in the console."""
    page = browser.new_page(viewport={"width": 1400, "height": 800})
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def open_graph(shown: dict[str, Any], target: str | None = None) -> Any:
        path = tmp_path / "lineage.html"
        path.write_text(lineage_page.render(shown, target), encoding="utf-8")
        page.goto(path.as_uri())
        return page

    yield open_graph
    page.close()
    assert complaints == []


def test_in_a_browser_the_subject_is_shown_and_pointing_shows_another(opened: Any) -> None:
    page = opened(graph(), "c")
    details = page.locator("#details")
    assert "0.1712 (0.16 – 0.18)" in details.inner_text()
    page.locator('.node[data-id="b"]').hover()
    assert "pretrain" in details.inner_text() and "0.01" in details.inner_text()
    faded = page.evaluate("[...document.querySelectorAll('.node:not(.on)')].map(box => box.dataset.id)")
    assert faded == ["d"]
    page.mouse.move(1, 1)
    assert "ppo" in details.inner_text()


def test_in_a_browser_a_click_opens_the_run(opened: Any) -> None:
    page = opened(graph(), "c")
    page.context.route("http://127.0.0.1:5000/**", lambda route: route.fulfill(body="the run"))
    with page.expect_popup() as popup:
        page.locator('.node[data-id="b"]').click()
    assert popup.value.url == "http://127.0.0.1:5000/#/runs/b"


def test_in_a_browser_search_finds_by_digest_and_hostile_text_runs_nothing(opened: Any) -> None:
    hostile = graph(config={HOSTILE: HOSTILE})
    hostile["nodes"].append(node("e", HOSTILE, HOSTILE))
    page = opened(hostile, "e")
    assert HOSTILE in page.locator("#details").inner_text()
    page.locator("#search").fill("cccc")
    assert page.locator(".node.chosen").get_attribute("data-id") == "c"
    assert page.evaluate("window.hacked") is None


def test_five_hundred_nodes_are_laid_out_and_the_subject_is_in_view(opened: Any) -> None:
    nodes = [node(f"n{number}", "stage", "corpus") for number in range(500)]
    edges = [[f"n{number // 2}", f"n{number}"] for number in range(1, 500)]
    page = opened({"nodes": nodes, "edges": edges}, "n499")
    box = page.locator('#grouped .node[data-id="n499"]').bounding_box()
    assert 0 <= box["x"] <= 1400 and 0 <= box["y"] <= 800
    assert box["width"] > 100
