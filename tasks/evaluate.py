"""Evaluates all models of a course on one frozen held-out set, and writes the report.

Prompts come from origins that gave no training text and no training pairs; which prompts, and in which order, is a
function of the pairs alone, so that two courses on the same data are compared on the same questions.
"""

import json
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import Field

from model.answers import score_answers
from model.evaluation import document_bits
from model.export import load_causal, load_scalar
from model.precision import resolve_device, resolve_precision, use_threads
from model.tokenizer import Tokenizer
from model.transformer import Transformer
from tasks import scores
from tasks.assessment import Assessor, Question
from tasks.held_out import as_plain_text, contamination, read_prompts
from tasks.lineage.errors import ConfigError
from tasks.rankings import held_out_figures, read_rankings
from tasks.rater import ReferenceRater
from tasks.report import evaluation_files
from tasks.scores import Answers, Figure, Values
from tasks.stage import Artifact, Resources, StageConfig, StageRun, stage
from tasks.tokens import HeldOut, Tokens

NUM_SAMPLES = 12  # prompts whose answers stand side by side in the report
SCORES_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("model", "mode", "pair_id")),
        ("sample", pa.int32()),
        ("text", pa.string()),
        *((name, pa.float64()) for name in scores.FIGURES),
    ]
)


class EvaluateConfig(StageConfig):
    """What the models are asked, and how often. Everything is held out from every stage of training."""

    eval_prompts: int = Field(300, ge=1, title="Prompts", description="held-out prompts to answer, at most")
    samples: int = Field(2, ge=1, description="sampled answers to each prompt, besides the greedy one")
    eval_tokens: int = Field(100_000, ge=1, title="Tokens", description="of held-out documents to read, at most")
    max_new_tokens: int = Field(40, ge=1, description="tokens after which an answer is cut off; as in ranking and PPO")
    temperature: float = Field(1.0, gt=0, le=5, description="of sampling; 1 draws from the model as it is")
    overlap_words: int = Field(13, ge=3, description="run of words that, found in training data, is contamination")
    rater: ReferenceRater = Field(
        default_factory=ReferenceRater, description="gives the gold score; `reference` is a formula standing for people"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="of reading and scoring; auto: where fast")
    seed: int = Field(0, ge=0, description="of sampling and of the bootstrap")

    def resolved(self) -> Self:
        return self.model_copy(update={"precision": resolve_precision(self.precision)})


@stage(
    output="evaluation",
    retries=2,
    libraries=("torch", "pyarrow", "numba", "numpy", "tokenizers", "safetensors", "matplotlib"),
)
def evaluate(
    run: StageRun,
    pretrained: Artifact,
    finetuned: Artifact,
    reward_model: Artifact,
    aligned: Artifact,
    tokens: Artifact,
    pairs: Artifact,
    rankings: Artifact,
    corpus: Artifact,
    config: EvaluateConfig,
    resources: Resources,
) -> None:
    """Compares the three models and judges the reward model; writes scores, figures, plots, samples and the report."""
    use_threads(resources.threads)
    device = resolve_device(resources.device)
    precision = resolve_precision(config.precision, device)
    scorer, tokenizer = load_scalar(reward_model.path / "model", device=device)
    assessor = Assessor(tokenizer, scorer.eval(), config.rater, precision)
    artifacts = {"pretrained": pretrained, "finetuned": finetuned, "aligned": aligned}
    models = _load(artifacts, tokenizer, device)
    context = min(scorer.config.max_position_embeddings, *(m.config.max_position_embeddings for m in models.values()))
    prompts = read_prompts(pairs, tokenizer, room=context - config.max_new_tokens, limit=config.eval_prompts)
    documents = Tokens(tokens.path).held_out(config.eval_tokens, config.seed)
    answers: dict[str, dict[str, Answers]] = {}
    bits: dict[str, Values] = {}
    for number, (name, model) in enumerate(models.items()):
        run.progress(number, len(models) + 1)
        ask = _ask_in_its_way if name == "pretrained" else _ask
        answers[name] = ask(model, assessor, prompts.questions, config)
        bits[name] = document_bits(
            model,
            documents.documents,
            start_token=tokenizer.endoftext_id,
            context=model.config.max_position_embeddings,
            device=device,
            precision=precision,
        )
    run.progress(len(models), len(models) + 1)

    found = contamination(prompts, corpus, pairs, config.overlap_words)
    result = _result(config, documents, answers, bits, found)
    result["baseline"] = _baseline(pretrained)
    result |= _judged_reward_model(assessor, rankings, config)
    _write_scores(run.output / "scores.parquet", answers, prompts.pair_ids)
    evaluation_files.write(
        run.output,
        result,
        _side_by_side(prompts.questions, answers),
        ledgers={"decontaminate": corpus.path / "ledger.parquet", "pair": pairs.path / "ledger.parquet"},
        inputs={
            **{name: artifact.digest for name, artifact in artifacts.items()},
            "reward model": reward_model.digest,
            "rankings": rankings.digest,
            "pairs": pairs.digest,
            "tokens": tokens.digest,
            "corpus": corpus.digest,
        },
    )
    run.log_metrics(scores.metrics(result))
    run.progress(len(models) + 1, len(models) + 1)


def _load(artifacts: dict[str, Artifact], tokenizer: Tokenizer, device: torch.device) -> dict[str, Transformer]:
    """The models by name. ConfigError unless all read and write with `tokenizer`."""
    models = {}
    for name, artifact in artifacts.items():
        model, its_tokenizer = load_causal(artifact.path / "model", device=device)
        if its_tokenizer.to_json() != tokenizer.to_json():
            raise ConfigError(f"the {name} model has another tokenizer than the reward model: evaluate one course only")
        models[name] = model.eval()
    return models


def _ask(
    model: Transformer,
    assessor: Assessor,
    questions: list[Question],
    config: EvaluateConfig,
    ends_with_document: bool = False,
) -> dict[str, Answers]:
    """Greedy and sampled answers."""
    ways = {"greedy": (0.0, 1), "sampled": (config.temperature, config.samples)}
    return {
        way: scores.answer(
            model,
            assessor,
            questions,
            max_new_tokens=config.max_new_tokens,
            temperature=temperature,
            samples=samples,
            seed=config.seed,
            ends_with_document=ends_with_document,
        )
        for way, (temperature, samples) in ways.items()
    }


def _ask_in_its_way(
    model: Transformer, assessor: Assessor, questions: list[Question], config: EvaluateConfig
) -> dict[str, Answers]:
    """As `_ask`, for a model that never saw a chat: in chat format or as plain text, whichever gets the better chrF."""
    chat = _ask(model, assessor, questions, config)
    plain = _ask(model, assessor, as_plain_text(questions, assessor.tokenizer), config, ends_with_document=True)
    return max(chat, plain, key=lambda ways: float(ways["greedy"].values["chrf"].mean()))


def _baseline(pretrained: Artifact) -> dict[str, Figure]:
    """What the pretrain stage measured of a 3-gram model on its held-out tokens, where its metrics say so."""
    path = pretrained.path / "metrics.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    names = [f"eval/{name}" for name in ("ngram_bits_per_byte", "bits_saved_per_byte")]
    return {
        name.removeprefix("eval/"): {
            "mean": known[name], "low": known[f"{name}_low"], "high": known[f"{name}_high"]
        }
        for name in names
        if f"{name}_low" in known
    }  # fmt: skip


def _result(
    config: EvaluateConfig,
    documents: HeldOut,
    answers: dict[str, dict[str, Answers]],
    bits: dict[str, Values],
    found: dict[str, np.ndarray],
) -> dict[str, Any]:
    """Everything the report says, as it is written to metrics.json."""
    seed = config.seed
    values = {name: scores.by_question(ways["greedy"], ways["sampled"]) for name, ways in answers.items()}
    dirty = found["in_text"] | found["in_pairs"]
    models: dict[str, dict[str, Figure]] = {}
    for name, ways in answers.items():
        models[name] = scores.summarise(values[name], seed)
        models[name]["bits_per_byte"] = scores.estimate(bits[name], seed, documents.num_bytes.astype(np.float64))
        for way, given in ways.items():
            models[name][f"distinct_2_{way}"] = {"mean": scores.distinct(given.texts)}
        if dirty.any() and not dirty.all():
            models[name]["gold_sampled_clean"] = scores.estimate(values[name]["gold_sampled"][~dirty], seed)
    return {
        "models": models,
        "differences": {
            f"{later}-{earlier}": scores.differences(values[later], values[earlier], seed)
            for later, earlier in (("finetuned", "pretrained"), ("aligned", "finetuned"))
        },
        "contamination": {
            "words": config.overlap_words,
            "prompts": len(dirty),
            "contaminated": int(dirty.sum()),
            **{name: int(flags.sum()) for name, flags in found.items()},
        },
        "counts": {
            "prompts": len(dirty),
            "samples": config.samples,
            "documents": len(documents.documents),
        },
        "rater": config.rater.name,
    }


def _judged_reward_model(assessor: Assessor, rankings: Artifact, config: EvaluateConfig) -> dict[str, Any]:
    """How often the reward model agrees with the rater on rankings it was not trained on."""
    max_tokens = assessor.reward_model.config.max_position_embeddings
    rows = pq.read_table(rankings.path / "rankings.parquet").to_pylist()
    split = {
        name: read_rankings([row for row in rows if row["split"] == name], assessor.tokenizer, max_tokens)
        for name in ("train", "validation")
    }
    held_out = split["validation"]
    if not held_out:
        return {"reward_model": {}, "calibration": []}
    flat = score_answers(
        assessor.reward_model,
        [row for ranking in held_out for row in ranking.rows],
        pad_token_id=assessor.tokenizer.pad_id,
        precision=assessor.precision,
    ).tolist()
    given = iter(flat)
    values = [[next(given) for _ in ranking.rows] for ranking in held_out]
    figures = held_out_figures(values, split["train"], held_out, config.seed)
    named = {
        name.removeprefix("eval/"): {
            "mean": figures[name], "low": figures[f"{name}_low"], "high": figures[f"{name}_high"]
        }
        for name in figures
        if f"{name}_low" in figures
    }  # fmt: skip
    return {"reward_model": named, "calibration": scores.calibration(held_out, values)}


def _write_scores(path: Path, answers: dict[str, dict[str, Answers]], pair_ids: list[str]) -> None:
    """A row for each answer of each model."""
    tables = []
    for model, ways in answers.items():
        for way, given in ways.items():
            count = len(given.texts)
            columns: dict[str, Any] = {
                "model": [model] * count,
                "mode": [way] * count,
                "pair_id": [pair_id for pair_id in pair_ids for _ in range(given.samples)],
                "sample": list(range(given.samples)) * len(pair_ids),
                "text": given.texts,
                **given.values,
            }
            tables.append(pa.table(columns, schema=SCORES_SCHEMA))
    pq.write_table(pa.concat_tables(tables), path, compression="zstd")


def _side_by_side(questions: list[Question], answers: dict[str, dict[str, Answers]]) -> list[dict[str, str]]:
    return [
        {
            "prompt": question.prompt,
            "human": question.human,
            **{name: ways["greedy"].texts[row] for name, ways in answers.items()},
        }
        for row, question in enumerate(questions[:NUM_SAMPLES])
    ]
