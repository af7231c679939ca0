import base64
import re
from typing import Any

from tasks.report.figures import headline, interval, number
from tasks.report.note import note
from tasks.report.plots import Funnel
from tasks.report.report_page import Picture, render
from tasks.report.verdicts import claims


def estimate(low: float, mean: float, high: float) -> dict[str, float]:
    return {"mean": mean, "low": low, "high": high}


def result(**ppo_differences: dict[str, float]) -> dict[str, Any]:
    return {
        "models": {
            "pretrained": {"bits_per_byte": estimate(1.6, 1.7, 1.8)},
            "aligned": {"reward_sampled": estimate(-0.5, -0.25, 0.1), "distinct_2_sampled": {"mean": 0.5}},
        },
        "differences": {"finetuned-pretrained": {}, "aligned-finetuned": ppo_differences},
        "reward_model": {
            "pair_accuracy_model_model": estimate(0.63, 0.66, 0.69),
            "pair_accuracy_length_only": estimate(0.56, 0.6, 0.64),
        },
        "calibration": [],
        "contamination": {"words": 13, "prompts": 1200, "contaminated": 3, "in_text": 2, "in_pairs": 1},
        "counts": {"prompts": 1200, "samples": 2, "documents": 30},
        "rater": "reference",
    }


def page(shown: dict[str, Any], samples: list[dict[str, Any]] | None = None, **more: Any) -> str:
    pictures, funnel = more.get("pictures", []), more.get("funnel", [])
    return render(shown, samples or [], pictures, funnel, {"aligned": "ab" * 32})


def test_a_claim_needs_an_interval_that_leaves_zero_out() -> None:
    found = claims(
        result(
            gold_sampled=estimate(0.004, 0.01, 0.02),
            gold_greedy=estimate(-0.02, 0.01, 0.03),
            reward_greedy=estimate(-0.3, -0.2, -0.1),
            length_sampled=estimate(0.2, 1.0, 2.0),
            repetition_greedy=estimate(-0.02, -0.01, 0.01),
        )
    )
    verdicts = {claim.because.partition(":")[0]: claim.verdict for claim in found}
    assert verdicts["gold, sampled"] == "yes"
    assert verdicts["gold, greedy"] == "unclear"
    assert verdicts["reward, greedy"] == "no"
    assert verdicts["tokens an answer, sampled"] == "no"
    assert verdicts["repeated word pairs, greedy"] == "yes"


def test_a_reward_model_that_only_measures_length_is_not_praised() -> None:
    shown = result()
    shown["reward_model"]["pair_accuracy_length_only"] = estimate(0.62, 0.65, 0.68)
    [claim] = claims(shown)
    assert claim.verdict == "unclear"
    assert "length alone 0.650" in claim.because


def test_what_did_not_come_out_is_said_in_plain_words_and_the_rater_called_a_stand_in() -> None:
    text = page(result(gold_greedy=estimate(-0.02, -0.01, -0.004)))
    assert "What did not come out:" in text
    assert "gold, greedy: −0.010 (−0.020 to −0.004)" in text
    assert "No person judged these answers" in text and "stands in for people" in text
    judged = {**result(), "rater": "human"}
    assert "No person judged" not in page(judged)


def test_the_table_shows_figures_with_intervals_and_gaps_as_dashes() -> None:
    text = page(result())
    assert "<td>1.700<small>(1.600–1.800)</small></td><td>–</td>" in text
    assert "<td>−0.25<small>(−0.50 to 0.10)</small></td>" in text
    assert "3 of 1,200 held-out prompts" in text


def test_answers_stand_side_by_side_as_text() -> None:
    hostile = '<script>alert(1)</script><!--FUNNEL--> "quoted"'
    text = page(result(), [{"prompt": hostile, "human": hostile, "aligned": hostile, "finetuned": ""}])
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(1)") == 3
    assert "<i>nothing</i>" in text
    assert re.findall(r"<dt>(.*?)</dt>", text) == ["human", "fine-tuned", "aligned (PPO)"]


def test_funnel_reasons_come_largest_first_and_are_escaped() -> None:
    text = page(result(), funnel=[Funnel("clean", 1000, {"<b>odd": 5, "too_short": 2000})])
    assert "<td>3,005</td><td>1,000</td>" in text
    assert "too short 2,000, &lt;b&gt;odd 5" in text


def test_pictures_are_within_the_page_and_it_needs_no_network() -> None:
    text = page(result(), pictures=[Picture("Course & all", "<svg/>")])
    assert f"data:image/svg+xml;base64,{base64.b64encode(b'<svg/>').decode()}" in text
    assert 'alt="Course &amp; all"' in text
    assert not re.findall(r'(?:src|href)="https?:', text)


def test_figures_are_written_for_people() -> None:
    assert (number(12345), number(0.123456), number(float("nan"))) == ("12,345", "0.1235", "not a number")
    assert interval(0.5, 0.25, 0.75, 2) == "0.50 (0.25–0.75)"
    assert headline("clean", {"documents_kept": 1200, "documents_dropped": 3}) == ["1,200 documents kept", "3 dropped"]
    assert headline("unknown", {"a/some_figure": 0.5, "a/some_figure_low": 0.4}) == ["0.5 some figure"]


def entry(**more: Any) -> dict[str, Any]:
    return {"role": "stage", "name": "ppo", "state": "ran", "prefect": {}, "inputs": {}, "record": None, **more}


def test_the_note_of_a_cached_run_leads_to_the_run_that_did_the_work() -> None:
    record = {
        "mlflow_run_id": "r1",
        "created": "2026-01-02T03:04:05",
        "output": {"kind": "model", "digest": "ab", "files": []},
        "wall_seconds": 1.0,
        "cpu_seconds": 1.0,
        "energy_wh": None,
    }
    text = note(entry(state="cached", record=record), lambda run: f"http://m/{run}")
    assert "[the run that did the work](http://m/r1) on 2026-01-02 03:04 UTC" in text


def test_hostile_text_in_a_note_is_shown_as_it_stands() -> None:
    text = note(entry(name="[x](http://evil) <img>", error="**bold**\n# head"), lambda run: "")
    assert r"\[x\]\(http://evil\) \<img\>" in text
    assert r"\*\*bold\*\* \# head" in text
