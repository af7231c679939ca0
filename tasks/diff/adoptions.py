"""What differs between two adoptions: what was declared of them, then the files that were given."""

from tasks.lineage.cause import Cause
from tasks.lineage.declaration import Statement

TOLD_FIRST = ("origin", "license", "made_from", "given")
GIVEN = "the files that were given are not the same"
assert set(TOLD_FIRST) == set(Statement.model_fields)


def by_declaration(causes: list[Cause]) -> list[Cause]:
    """The causes that come from the declarations first, and in words: a digest of files says nothing to a reader."""
    return sorted((_told(cause) for cause in causes), key=_place)


def _place(cause: Cause) -> int:
    field = _field(cause)
    return TOLD_FIRST.index(field) if field else len(TOLD_FIRST)


def _field(cause: Cause) -> str | None:
    """The field of the declaration that a cause is about."""
    field = cause.name.partition(".")[0]
    return field if cause.kind == "config" and field in TOLD_FIRST else None


def _told(cause: Cause) -> Cause:
    field = _field(cause)
    if field is None:
        return cause
    old, new = ("not declared" if value is None else str(value) for value in (cause.old, cause.new))
    change = f"declared {field.replace('_', ' ').replace('license', 'licence')}: {old} → {new}"
    return cause.model_copy(update={"note": GIVEN if field == "given" else change})
