"""What the flow `forget` does: exclusion list, course, certificate. Outside a Prefect flow these are plain calls."""

import logging
from typing import Any

from flows.classifiers import check_classifiers
from flows.course import Data, align_course, check_adopted, gives_pairs, pretrain_course, text_course
from flows.latest import course, met
from flows.presets import DATA, STAGES
from flows.settings import Settings
from tasks.forget import certificate as certificates
from tasks.forget.cleaned_with import classifiers_of, replaced, samples_of
from tasks.forget.derived import derived
from tasks.forget.exclusions import ExcludeConfig, current, exclude, meant, put_in_force
from tasks.forget.fall import fall, models_of
from tasks.forget.remains import answer, search
from tasks.impact.selector import FoundDocument, Selection
from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import StoreError
from tasks.lineage.journal import now
from tasks.lineage.store import Store
from tasks.text.forgotten import Forgotten, read_rows
from tasks.tracking import registry
from tasks.tracking.model_names import MODEL_NAMES

MOST_ROUNDS = 3
"""Cleaning may bring texts nearer to each other than they were when they were collected. What the search still finds is
excluded by name and the course run again, so often at most."""

logger = logging.getLogger("pedigree.forget")


def forget_course(settings: Settings, identifier: str, mlflow_run_id: str | None) -> certificates.Certificate:
    """Exclude, rebuild, search what was rebuilt, and certify. Raises StoreError if forgotten text is still there; and
    before the list is in force, if something adopted that the course would take is gone, or a classifier could not be
    trained again.

    identifier: of the certificate.
    """
    store = Store()
    config = settings.exclude
    found = meant(store, config)
    made_from = derived(store, found.documents)
    held_by = met(course(found.holding))
    before = {stage: record.output.digest for stage, record in held_by.items()}
    cleaned_with = classifiers_of(held_by.get("clean"))
    earlier = current()
    ids = {*config.of(found), *(document.doc_id for document in made_from)}
    would_fall = fall(store, ids)
    listed = exclude(config=config, resources=settings.resources, earlier=earlier)
    if earlier is None or listed.digest != earlier.digest:  # else the course takes nothing anew
        check_adopted(settings.adopted)
        check_classifiers(settings.classifiers)
    put_in_force(listed)
    suspected, _ = models_of(would_fall.outputs)
    certificates.tag_tainted(suspected, identifier, {})  # at once: the course may take long
    made = _course(settings)
    for _ in range(MOST_ROUNDS):
        data = {stage: made[stage] for stage in DATA if stage in made}
        data |= samples_of(store, classifiers_of(store.maker(made["clean"])))
        searched, remains = search(store, data, Forgotten.read(listed.path))
        if not remains:
            break
        logger.warning("%d places still hold forgotten text; it is excluded by name", len(remains))
        left = ExcludeConfig(docs=tuple(sorted({entry.doc_id for entry in remains})), exact=True)
        listed = exclude(config=left, resources=settings.resources, earlier=listed)
        put_in_force(listed)
        made = _course(settings)
    fallen = fall(store, ids)  # without what came out of the course to the same bytes
    models, asked = models_of(fallen.outputs)
    tainted = certificates.tag_tainted(models, identifier, _replacements(made))
    certificates.untag([model for model in suspected if model["digest"] not in {entry["digest"] for entry in models}])
    certificate: certificates.Certificate = {
        "id": identifier,
        "created": now(),
        "flow_run_id": identifier,
        "mlflow_run_id": mlflow_run_id,
        "request": _request(config),
        "exclusions": {
            "before": earlier.digest if earlier else None,
            "after": listed.digest,
            "wordings": len(read_rows(listed.path)),
        },
        "removed": _removed(found, made_from, config.exact),
        "stages": _stages(before, made),
        "classifiers": replaced(cleaned_with, classifiers_of(store.maker(made["clean"])), fallen),
        "tainted": [output.answer() for output in fallen.outputs],
        "models": tainted,
        "registry": asked,
        "check": answer(searched, remains),
        "purged": None,
    }
    path = certificates.write(certificate)
    certificates.publish(certificate, mlflow_run_id)
    if remains:
        raise StoreError(
            f"{len(remains)} places of the new data still hold forgotten text, which {path} names. Forget those "
            "documents by --doc, or lower exclude.threshold."
        )
    return certificate


def _course(settings: Settings) -> dict[str, Artifact]:
    """Stage → what the course made or found."""
    data_only = settings.exclude.rebuild == "data"
    text = text_course(settings, with_pairs=not data_only or gives_pairs(settings))
    made = {
        "collect": text.collected,
        "clean": text.cleaned,
        "deduplicate": text.deduplicated,
        "decontaminate": text.corpus,
        "tokenize": text.tokenized,
    }
    if text.pairs is not None:
        made["pair"] = text.pairs
    if settings.mix.sources:
        made["mix"] = text.tokens
    if data_only:
        return made
    assert text.pairs is not None
    data = Data(text.corpus, text.tokens, text.pairs)
    models = align_course(settings, pretrain_course(settings, data), data)
    return made | {
        "pretrain": models.pretrained,
        "finetune": models.finetuned,
        "rank": models.rankings,
        "reward": models.reward_model,
        "ppo": models.aligned,
        "evaluate": models.evaluation,
    }


def _request(config: ExcludeConfig) -> dict[str, Any]:
    return {
        "docs": list(config.docs),
        "sources": list(config.sources),
        "licenses": list(config.licenses),
        "annotators": list(config.annotators),
        "texts": [known.digest for known in config.texts],
        "exact": config.exact,
        "threshold": config.threshold,
    }


def _removed(found: Selection, made_from: list[FoundDocument], exact: bool) -> list[dict[str, Any]]:
    """What was meant, what is near to it, and pairs that were made from it and held somewhere."""
    how = [(document, "meant") for document in found.documents]
    how += [(document, "near") for document in found.near_duplicates if not exact]
    how += [(document, "made from it") for document in made_from if document.held_by]
    fields = ("doc_id", "kind", "source", "origin", "license", "similarity")
    return [{**{name: getattr(document, name) for name in fields}, "why": why} for document, why in how]


def _stages(before: dict[str, str], after: dict[str, Artifact]) -> list[dict[str, Any]]:
    """What each stage's output was and is."""
    return [
        {
            "stage": stage,
            "before": before.get(stage),
            "after": after[stage].digest,
            "state": "unchanged" if before.get(stage) == after[stage].digest else "made anew",
        }
        for stage in STAGES
        if stage in after
    ]


def _replacements(made: dict[str, Artifact]) -> dict[str, str]:
    """Stage → its new model: name and version, or content where it is not registered."""
    models = {stage: made[stage].digest for stage in MODEL_NAMES if stage in made}
    known = registry.versions(set(models.values())) or {}
    return {
        stage: f"{known[digest][-1].name} version {known[digest][-1].version}"
        if known.get(digest)
        else f"{MODEL_NAMES[stage]} {digest[:12]}"
        for stage, digest in models.items()
    }


def markdown(certificate: certificates.Certificate) -> str:
    """A page for Prefect's UI."""
    check = certificate["check"]
    lines = [
        "# Deletion certificate",
        "",
        f"`{certificate['id']}`: {len(certificate['removed'])} documents, "
        f"{len(certificate['models'])} models had learnt from them.",
        "",
        "**Nothing of them is left in the new data.**" if check["clean"] else "**Some of it is still there.**",
        "",
        "| stage | before | now | |",
        "|---|---|---|---|",
    ]
    for stage in certificate["stages"]:
        cells = (stage["stage"], (stage["before"] or "–")[:12], stage["after"][:12], stage["state"])
        lines.append(f"| {' | '.join(cells)} |")
    for entry in certificate["classifiers"]:
        old, new = ((entry[when] or "–")[:12] for when in ("before", "after"))
        lines.append(f"| classifier ({entry['setting']}) | {old} | {new} | {entry['state']} |")
    return "\n".join(lines) + "\n"
