"""Settings a user gives: `--preset`, `--config FILE`, `--set stage.field=value`, checked before anything starts.

All three are differences from the defaults (the `demo` preset), merged in that order, so the last one named wins.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import yaml  # type: ignore[import-untyped]

from flows.errors import SettingsError
from flows.presets import FLOW_SECTIONS, PRESETS

Settings = dict[str, Any]  # {section: {field: value}}


def parameters(flow: str, preset: str, config: Path | None, assignments: Sequence[str]) -> Settings:
    """The flow run's parameters: what differs from the defaults. Raises SettingsError, naming what is at fault.

    The stages' own types check the values, which needs their modules and so a second or two; presets alone are
    checked by the tests instead.
    """
    sections = _sections(flow)
    merged = {name: section for name, section in _preset(preset).items() if name in sections}
    given = merge(_file(config) if config else {}, *(assignment(text) for text in assignments))
    if not given:
        return merged
    given = _with_collected(given)
    for name in given:
        if name not in sections:
            raise SettingsError(f"The flow `{flow}` has no section {name!r}{_hint(name, sections)}.")
    merged = merge(merged, given)
    check(merged)
    return merged


def _with_collected(given: Settings) -> Settings:
    """The short form for a single source of text, `collect.source=local` with `collect.path=FOLDER`, spelled out.

    It stands for snapshot.sources, which is where sources belong: looking at them comes before collecting. Beside
    `source` and `path`, every other field of a source may follow, such as `collect.text_field=body`.
    """
    collect = given.get("collect")
    if not isinstance(collect, dict) or not {"source", "path"} & collect.keys():
        return given
    if "source" not in collect:
        raise SettingsError("collect.path: say of what kind it is, too: collect.source=local for files or a folder.")
    # Here, not at the top: the command line reads settings without loading the stages.
    from tasks.collect import CollectConfig
    from tasks.text.sources import Source, SourceKind

    own = {name: value for name, value in collect.items() if name in CollectConfig.model_fields}
    source = {name: value for name, value in collect.items() if name in Source.model_fields and name not in own}
    unknown = collect.keys() - own.keys() - source.keys() - {"source"}
    kinds = {"local": "files"} | {kind: kind for kind in get_args(SourceKind)}
    if str(collect["source"]) not in kinds:
        listed = ", ".join(map(repr, kinds))
        raise SettingsError(f"collect.source = {collect['source']!r}: there is no such kind of source; use {listed}.")
    kind = kinds[str(collect["source"])]
    if "sources" in given.get("snapshot", {}):
        raise SettingsError("collect.source and snapshot.sources both say where text comes from: give one of them.")
    collect = own | {name: collect[name] for name in unknown}
    return merge({**given, "collect": collect}, {"snapshot": {"sources": [source | {"kind": kind}]}})


def merge(*layers: Mapping[str, Any]) -> Settings:
    """Later layers win, field by field; a list replaces the list before it."""
    merged: Settings = {}
    for layer in layers:
        for name, value in layer.items():
            before = merged.get(name)
            both = isinstance(before, dict) and isinstance(value, Mapping)
            merged[name] = merge(before, value) if both else value  # type: ignore[arg-type]
    return merged


def assignment(text: str) -> Settings:
    """`pretrain.steps=100` → {"pretrain": {"steps": 100}}. The value is JSON, or else taken as text."""
    path, equals, raw = text.partition("=")
    names = path.strip().split(".")
    if not equals or len(names) < 2 or not all(names):
        raise SettingsError(f"--set {text!r} is not of the form stage.field=value, such as pretrain.steps=100.")
    try:
        value: Any = json.loads(raw)
    except ValueError:
        value = raw.strip()
    for name in reversed(names):
        value = {name: value}
    return dict(value)


def check(settings: Settings) -> None:
    """Raises SettingsError for an unknown field or a value out of bounds."""
    # Here, not at the top: the stages' modules load torch, which the other commands can do without.
    from pydantic import ValidationError

    from flows.settings import Settings as Typed

    try:
        Typed.model_validate(settings)
    except ValidationError as error:
        raise SettingsError("\n".join(_explained(fault, Typed) for fault in _causes(error.errors()))) from None


def _sections(flow: str) -> tuple[str, ...]:
    if flow not in FLOW_SECTIONS:
        raise SettingsError(f"There is no flow {flow!r}{_hint(flow, FLOW_SECTIONS)}.")
    return FLOW_SECTIONS[flow]


def _preset(name: str) -> Settings:
    if name not in PRESETS:
        raise SettingsError(f"There is no preset {name!r}{_hint(name, PRESETS)}.")
    return PRESETS[name]


def _file(path: Path) -> Settings:
    readers = {".yaml": yaml.safe_load, ".yml": yaml.safe_load, ".json": json.loads, ".toml": tomllib.loads}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise SettingsError(f"--config {path}: the name must end in .yaml, .yml, .toml or .json.")
    try:
        content = reader(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"--config {path} cannot be read: {error.strerror}.") from error
    except (ValueError, yaml.YAMLError) as error:
        raise SettingsError(f"--config {path} is not valid {path.suffix[1:].upper()}: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(section, dict) for section in content.values()):
        raise SettingsError(f"--config {path} must hold sections of fields, such as `pretrain: {{steps: 100}}`.")
    return content


def _causes(faults: Sequence[Any]) -> list[Any]:
    """Faults without those of a whole whose part is at fault: a list of which no entry is right counts as too short."""
    places = [tuple(fault["loc"]) for fault in faults]
    wholes = {place[:length] for place in places for length in range(len(place))}
    return [fault for fault, place in zip(faults, places, strict=True) if place not in wholes]


def _explained(fault: Mapping[str, Any], root: Any) -> str:
    """One line for one pydantic error: the field, what is wrong, what is allowed."""
    names = [str(part) for part in fault["loc"]]
    where = ".".join(names)
    if fault["type"] == "extra_forbidden":
        return f"{where}: there is no such field{_hint(names[-1], _fields_at(root, names[:-1]))}."
    message = str(fault["msg"])
    message = message[:1].lower() + message[1:]
    return f"{where} = {fault['input']!r}: {message.removeprefix('value error, ').removesuffix('.')}."


def _fields_at(root: Any, names: Sequence[str]) -> list[str]:
    """Names of the fields of the model found by following `names` from `root`; empty when the path leaves models."""
    model = root
    for name in names:
        field = getattr(model, "model_fields", {}).get(name)
        if field is None:
            return []
        model = field.annotation
    return list(getattr(model, "model_fields", {}))


def _hint(word: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    close = get_close_matches(word, list(known), n=1)
    listed = f"; there are: {', '.join(known)}" if known else ""
    return f". Did you mean {close[0]!r}? It is one of: {', '.join(known)}" if close else listed
