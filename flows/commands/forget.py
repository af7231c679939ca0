"""`pedigree forget`: leaves documents out from now on, rebuilds what held them, and certifies that they are gone."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.commands.base import agreed, command, print_json, printable, say, size
from flows.commands.impact import add_selectors, selector
from flows.errors import ServerUnreachable, SettingsError
from flows.presets import STAGES
from tasks.lineage.store import Store

if TYPE_CHECKING:
    from flows.forget_request import Request

SHOWN = 20


def add(commands: Any) -> None:
    forget = command(commands, "forget", _forget, "leave documents out for good, and rebuild what held them", (
        "pedigree forget --doc 3f2a91c0 --dry-run            what would come of it\n"
        "  pedigree forget --text letter.txt                   a text and its near copies\n"
        "  pedigree forget --source 'pypi://numpy/*' --purge   and delete every older output that holds them\n"
        "  pedigree forget --purge                             delete what still holds what was forgotten before"
    ), json_output=True)  # fmt: skip
    forget.description = (
        "Put documents on the exclusion list, which holds their digests and MinHash signatures and never their text, "
        "and which every later collection obeys; run the latest course that holds them again, of which only what is "
        "downstream of them is made anew; tag the models that had learnt from them, and write a deletion certificate. "
        "Of a ranking (--annotator), the prompt is left out, so that it is not ranked again."
    )
    add_selectors(forget)
    forget.add_argument("--exact", action="store_true", help="keep near-duplicates, which are otherwise forgotten too")
    forget.add_argument("--dry-run", action="store_true", help="show what would come of it, and do nothing")
    forget.add_argument("--purge", action="store_true",
                        help="then delete every older output, checkpoint and MLflow artifact or model version that "
                        "still holds the text or learnt from it; shows the list, and asks")  # fmt: skip
    forget.add_argument("--yes", action="store_true", help="purge without asking")
    forget.add_argument("--without-mlflow", action="store_true", help="purge the store alone")
    forget.add_argument("--data-only", action="store_true", help="make the data anew, and no models")
    forget.add_argument("--preset", metavar="P", help="rebuild by this preset, not with the settings of the latest run")
    forget.add_argument("--config", type=Path, metavar="FILE", help="settings to rebuild with, as for `pedigree run`")
    forget.add_argument("--set", action="append", default=[], dest="assignments", metavar="STAGE.FIELD=VALUE",
                        help="one setting; may be repeated")  # fmt: skip


def _forget(options: argparse.Namespace) -> int:
    from flows import forget_request, servers

    chosen = selector(options)
    if chosen.empty and not options.purge:
        raise SettingsError("Say what to forget: --doc, --text, --source, --license or --annotator.")
    store = Store()
    servers.name_mlflow()
    if options.dry_run:
        return _dry_run(options, store)
    certificate = None
    if not chosen.empty:
        asked = forget_request.request(store, chosen, options.exact)
        certificate = _run(_parameters(asked, options), options.json)
    if options.purge:
        certificate = _purge(store, certificate, options)
    if options.json:
        print_json(certificate or {})
    elif certificate is not None:
        _show_certificate(certificate)
    return 0


def _parameters(asked: "Request", options: argparse.Namespace) -> dict[str, Any]:
    from flows import forget_request

    return forget_request.parameters(asked, options.preset, options.config, options.assignments, options.data_only)


def _run(parameters: dict[str, Any], as_json: bool) -> dict[str, Any]:
    """The certificate of the flow run that was triggered."""
    from flows import runs
    from tasks.forget import certificate

    entry, _ = runs.launch("forget", "demo", parameters, runs.console_for(as_json))
    return certificate.read(entry["flow_run_id"])


def _dry_run(options: argparse.Namespace, store: Store) -> int:
    from flows import forget_request
    from flows.classifiers import check_classifiers
    from flows.course import check_adopted
    from flows.settings import Settings
    from tasks.forget import purge

    chosen = selector(options)
    answer: dict[str, Any] = {"dry_run": True}
    if not chosen.empty:
        asked = forget_request.request(store, chosen, options.exact)
        settings = Settings.model_validate(_parameters(asked, options))
        check_adopted(settings.adopted)
        check_classifiers(settings.classifiers)
        answer = forget_request.dry_run(store, asked)
    else:
        answer["purge"] = purge.plan(store, ask_mlflow=_asks_mlflow(options)).answer()
    if options.json:
        print_json(answer)
    elif chosen.empty:
        _show_purge(answer["purge"])
    else:
        _show_plan(answer)
    return 0


def _asks_mlflow(options: argparse.Namespace) -> bool:
    """Whether MLflow may hold something. Raises ServerUnreachable if so and it does not answer."""
    from tasks.tracking import retraction

    asks = retraction.was_used() and not options.without_mlflow
    if asks and not retraction.answers():
        raise ServerUnreachable(
            "MLflow does not answer, so what it holds cannot be purged, and nothing was. Start it with `pedigree up` "
            "and call `pedigree forget --purge`, or give --without-mlflow to purge the store alone."
        )
    return asks


def _purge(store: Store, given: dict[str, Any] | None, options: argparse.Namespace) -> dict[str, Any] | None:
    """Shows, asks, deletes; gives the certificate with what was deleted."""
    from tasks.forget import certificate, purge

    planned = purge.plan(store, ask_mlflow=_asks_mlflow(options))
    given = given or certificate.newest()
    if planned.empty:
        say("Nothing is left to purge.", options.json)
        return given
    _show_purge(planned.answer(), options.json)
    if not (options.yes or agreed("Delete all this?")):
        say("Nothing was purged; `pedigree forget --purge` does it later.", options.json)
        return given
    gone = purge.execute(store, planned, given["id"] if given else "no certificate")
    say(f"Purged {len(gone.objects)} outputs, {size(gone.bytes)}.", options.json)
    if len(gone.objects) < len(planned.objects):
        say("A stage is at work on the others; run `pedigree forget --purge` again when it is done.", options.json)
    if given is None:
        return None
    given = {**given, "purged": gone.answer()}
    certificate.write(given)
    certificate.publish(given, given["mlflow_run_id"])
    return given


def _show_plan(answer: dict[str, Any]) -> None:
    for title, name in (
        ("documents would be forgotten", "documents"),
        ("near-duplicates with them", "near_duplicates"),
        ("pairs made from them", "made_from_them"),
    ):
        say(f"{len(answer[name]):,} {title}")
        for document in answer[name][:SHOWN]:
            say(f"  {document['doc_id']} {document['kind']} {printable(document['source'] or '')}")
        _more(answer[name])
    if answer["texts"]:
        say(f"and {len(answer['texts'])} texts, wherever they come up")
    rebuilds = answer["rebuilds"]
    say(f"stages of {rebuilds['flow']} run {rebuilds['flow_run_id']}, begun {rebuilds['started'][:16]}:" if rebuilds
        else "stages:")  # fmt: skip
    for stage in answer["stages"]:
        outcome = "" if stage["changes"] or stage["verdict"] == "cached" else ", with the same output"
        say(f"  {stage['stage']:<12} {stage['verdict']}{outcome}")
    for entry in answer["classifiers"]:
        outcome = "" if entry["changes"] else ", to the same bytes"
        say(f"the classifier of {entry['setting']} would be trained anew{outcome}{_learned_from_them(entry)}")
    _say_not_rebuilt(answer, {stage["digest"] for stage in answer["stages"]})
    say(f"{len(answer['models']):,} models would be tainted (registry {answer['registry']})")
    for model in answer["models"]:
        version = f" version {model['version']}" if model["version"] else ""
        say(f"  {model['name']}{version} {model['digest'][:12]}, {model['relation']}")
    purge = answer["purge"]
    say(f"--purge would then delete {purge['objects']} outputs, {size(purge['bytes'])}, and what MLflow has of them.")


def _show_purge(answer: dict[str, Any], to_stderr: bool = False) -> None:
    for title, name in (("outputs", "objects"), ("unfinished work", "work"), ("damaged copies", "aside")):
        if answer[name]:
            say(f"{len(answer[name])} {title}:", to_stderr)
        for entry in answer[name][:SHOWN]:
            about = " ".join(part for part in (entry["stage"], entry["kind"], entry["created"]) if part)
            say(f"  {entry['name'][:40]:<40} {size(entry['bytes']):>10}  {about}", to_stderr)
        if len(answer[name]) > SHOWN:
            say(f"  and {len(answer[name]) - SHOWN:,} more; --json has all", to_stderr)
    mlflow = answer["mlflow"]
    named = ", ".join(f"{version['name']} {version['version']}" for version in mlflow["versions"]) or "none"
    say(f"in MLflow: registered versions {named}; {len(mlflow['models'])} models; files of {len(mlflow['runs'])} runs",
        to_stderr)  # fmt: skip


def _show_certificate(certificate: dict[str, Any]) -> None:
    from tasks.forget import certificate as certificates

    say(f"{len(certificate['removed'])} documents are forgotten.")
    for stage in certificate["stages"]:
        say(f"  {stage['stage']:<12} {stage['state']}")
    for entry in certificate.get("classifiers", ()):  # those given before there were any lack it
        say(f"  classifier of {entry['setting']}: {entry['state']}{_learned_from_them(entry)}")
    for model in certificate["models"]:
        instead = f"; use {model['replaced_by']}" if model["replaced_by"] else ""
        say(f"  {model['name']} version {model['version'] or '–'} is tainted ({model['relation']}){instead}")
    _say_not_rebuilt(certificate, {stage["before"] for stage in certificate["stages"]})
    decoded = sum(entry["decoded"] for entry in certificate["check"]["searched"])
    say(f"Searched {decoded:,} documents of the new token shards: nothing of them is left.")
    say(f"Certificate: {certificates.folder() / certificate['id']}.html")


def _say_not_rebuilt(answer: dict[str, Any], rebuilt: set[str | None]) -> None:
    """Names the outputs of other runs that hold the documents or learnt from them, in whose place nothing comes."""
    others = [
        output
        for output in answer["tainted"]
        if output["stored"] and output["stage"] in STAGES and output["digest"] not in rebuilt
    ]
    if others:
        say(f"{len(others):,} outputs of other runs hold them or learnt from them and are not rebuilt; --purge deletes "
            "them:")  # fmt: skip
    for output in others[:SHOWN]:
        say(f"  {output['stage']:<12} {output['digest'][:12]}, {output['relation']}")
    _more(others)


def _learned_from_them(classifier: dict[str, Any]) -> str:
    return " (the old one had learned from them)" if classifier["relation"] == "trained" else ""


def _more(entries: list[Any]) -> None:
    if len(entries) > SHOWN:
        say(f"  and {len(entries) - SHOWN:,} more; --json has all")
