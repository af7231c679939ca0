"""`report.html`: how the models did, on one page that needs no network and runs no script.

What models and people wrote is shown as text, never as HTML.
"""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from tasks.report.figures import interval
from tasks.report.plots import Funnel
from tasks.report.verdicts import Claim, claims, negatives

MODELS = ("pretrained", "finetuned", "aligned")
MODEL_NAMES = {"human": "human", "pretrained": "pretrained", "finetuned": "fine-tuned", "aligned": "aligned (PPO)"}
VERDICT_NAMES = {"yes": "yes", "no": "no", "unclear": "not shown"}


class Row(NamedTuple):
    """A figure in the table of models."""

    name: str
    label: str
    help: str
    decimals: int


ROWS = (
    Row("bits_per_byte", "Bits per byte", "held-out documents; lower is better", 3),
    Row("chrf_greedy", "chrF, greedy", "overlap of characters with the human answer, 0–1", 3),
    Row("chrf_sampled", "chrF, sampled", "", 3),
    Row("gold_greedy", "Gold score, greedy", "the rater's, against the human answer, 0–1; PPO never saw it", 3),
    Row("gold_sampled", "Gold score, sampled", "", 3),
    Row("gold_sampled_clean", "… without contaminated prompts", "", 3),
    Row("reward_greedy", "Reward model's score, greedy", "0 is an average answer of the fine-tuned model", 2),
    Row("reward_sampled", "Reward model's score, sampled", "", 2),
    Row("length_greedy", "Length, greedy", "tokens", 1),
    Row("length_sampled", "Length, sampled", "", 1),
    Row("finished_sampled", "Ended by itself, sampled", "share of answers not cut off", 3),
    Row("repetition_greedy", "Repetition, greedy", "share of an answer's word pairs that occur in it before", 3),
    Row("repetition_sampled", "Repetition, sampled", "", 3),
    Row("distinct_2_sampled", "Distinct word pairs, sampled", "share among all answers; higher is more varied", 3),
)
REWARD_ROWS = {
    "pair_accuracy_model_model": "two answers of the fine-tuned model",
    "pair_accuracy_human_model": "the human answer and a model's",
    "pair_accuracy_length_only": "two answers of the model, judged by length alone (baseline)",
}
STAND_IN = (
    "<b>No person judged these answers.</b> The gold score and the rankings come from the <code>reference</code> "
    "rater, a formula that stands in for people: agreement with the one answer that a person wrote, in characters "
    "(chrF) and in content words, lowered for repetition, answers cut off and unsafe words. A good answer in other "
    "words gets a low mark, so these figures compare models and say nothing about absolute quality."
)


class Picture(NamedTuple):
    """A drawing with what it shows, for those who don't see it."""

    title: str
    svg: str


def render(
    result: Mapping[str, Any],
    samples: Sequence[Mapping[str, Any]],
    pictures: Sequence[Picture],
    funnel: Sequence[Funnel],
    inputs: Mapping[str, str],
) -> str:
    """The page. result: an evaluation's metrics.json; samples: rows {prompt, human, pretrained, finetuned, aligned};
    inputs: name → digest of what was evaluated. Equal arguments give equal text."""
    found = claims(result)
    page = (Path(__file__).parent / "report_page.html").read_text(encoding="utf-8")
    parts = {
        "LEDE": _lede(result, found),
        "CLAIMS": _claims(found),
        "MODELS": _models(result["models"]),
        "SAMPLES": _samples(samples),
        "REWARD": _reward(result.get("reward_model", {})),
        "CONTAMINATION": _contamination(result["contamination"]),
        "FUNNEL": _funnel(funnel),
        "PICTURES": "".join(as_image(picture) for picture in pictures),
        "NOTES": _notes(result, found),
        "INPUTS": "".join(
            f"<tr><td>{escape(name)}</td><td><code>{escape(digest)}</code></td></tr>" for name, digest in inputs.items()
        ),
    }
    for name, text in parts.items():  # no part can hold a mark: what comes from outside is escaped
        page = page.replace(f"<!--{name}-->", text)
    return page


def _lede(result: Mapping[str, Any], found: Sequence[Claim]) -> str:
    counts, good = result["counts"], sum(claim.verdict == "yes" for claim in found)
    return (
        f"Three models answered {counts['prompts']:,} held-out prompts, greedily and {counts['samples']:,} times by "
        f"sampling, and read {counts['documents']:,} held-out documents. Of {len(found)} questions below, the figures "
        f"answer {good} with yes. Ranges in brackets are 95% bootstrap intervals over prompts or documents."
    )


def _claims(found: Sequence[Claim]) -> str:
    return "".join(
        f'<li class="{claim.verdict}"><b>{VERDICT_NAMES[claim.verdict]}</b><span>{escape(claim.question)}'
        f"<small>{escape(claim.because)}</small></span></li>"
        for claim in found
    )


def _models(models: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    shown = [name for name in MODELS if name in models]
    head = "".join(f"<th>{escape(MODEL_NAMES[name])}</th>" for name in shown)
    lines = []
    for row in ROWS:
        if any(row.name in models[name] for name in shown):
            cells = "".join(f"<td>{_estimate(models[name].get(row.name), row.decimals)}</td>" for name in shown)
            explained = f"<small>{escape(row.help)}</small>" if row.help else ""
            lines.append(f"<tr><th>{escape(row.label)}{explained}</th>{cells}</tr>")
    return f"<thead><tr><th></th>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"


def _estimate(estimate: Mapping[str, float] | None, decimals: int) -> str:
    if estimate is None:
        return "–"
    text = interval(estimate["mean"], estimate.get("low"), estimate.get("high"), decimals).replace("-", "−")
    mean, _, bracket = text.partition(" ")
    return f"{mean}<small>{bracket}</small>" if bracket else mean


def _samples(samples: Sequence[Mapping[str, Any]]) -> str:
    columns = [name for name in MODEL_NAMES if any(name in sample for sample in samples)]
    cards = []
    for sample in samples:
        answers = "".join(
            f'<div class="{name}"><dt>{escape(MODEL_NAMES[name])}</dt>'
            f"<dd>{escape(str(sample.get(name) or '')) or '<i>nothing</i>'}</dd></div>"
            for name in columns
        )
        cards.append(f"<article><h3>{escape(str(sample['prompt']))}</h3><dl>{answers}</dl></article>")
    return "".join(cards)


def _reward(figures: Mapping[str, Mapping[str, float]]) -> str:
    rows = "".join(
        f"<tr><th>{escape(label)}</th><td>{_estimate(figures[name], 3)}</td></tr>"
        for name, label in REWARD_ROWS.items()
        if name in figures
    )
    return f"<thead><tr><th>Pair of answers</th><th>put in the rater's order</th></tr></thead><tbody>{rows}</tbody>"


def _contamination(found: Mapping[str, float]) -> str:
    share = found["contaminated"] / max(1, found["prompts"])
    return (
        f"{found['contaminated']:,} of {found['prompts']:,} held-out prompts ({share:.1%}) are contaminated: the "
        f"prompt or its human answer shares a run of {found['words']} words with the training data (if it is shorter: "
        f"all of its words). {found['in_text']:,} were found in the pretraining text, {found['in_pairs']:,} in the "
        "pairs used for fine-tuning, ranking and PPO. They stay in the figures; one row of the table leaves them out."
    )


def _funnel(stages: Sequence[Funnel]) -> str:
    lines = []
    for stage in stages:
        total = stage.kept + sum(stage.dropped.values())
        reasons = ", ".join(
            f"{escape(reason.replace('_', ' '))} {count:,}"
            for reason, count in sorted(stage.dropped.items(), key=lambda item: (-item[1], item[0]))
        )
        lines.append(
            f"<tr><th>{escape(stage.stage)}</th><td>{total:,}</td><td>{stage.kept:,}</td>"
            f'<td class="text">{reasons or "–"}</td></tr>'
        )
    head = '<tr><th>Stage</th><th>documents in</th><th>kept</th><th class="text">dropped, by reason</th></tr>'
    return f"<thead>{head}</thead><tbody>{''.join(lines)}</tbody>"


def as_image(picture: Picture) -> str:
    """As an image: an SVG's identifiers then cannot clash with another's, nor its content touch the page."""
    data = base64.b64encode(picture.svg.encode()).decode()
    title = escape(picture.title)
    return (
        f'<figure><figcaption>{title}</figcaption><img alt="{title}" src="data:image/svg+xml;base64,{data}"></figure>'
    )


def _notes(result: Mapping[str, Any], found: Sequence[Claim]) -> str:
    notes = []
    if result.get("rater") == "reference":
        notes.append(STAND_IN)
    notes.append(
        "The reward model learned from rankings by that same rater, so a higher reward is no evidence by itself. "
        "The gold score against human answers that nothing was trained on is."
    )
    notes.append(
        "The pretrained model never saw a chat: it is asked in chat format and by plain text to continue, and shown "
        "with whichever got the better chrF."
    )
    failed = negatives(found)
    if failed:
        listed = "; ".join(
            f"{escape(claim.question)} {VERDICT_NAMES[claim.verdict]} ({escape(claim.because)})" for claim in failed
        )
        notes.append(f"<b>What did not come out:</b> {listed}.")
    return "".join(f"<li>{note}</li>" for note in notes)
