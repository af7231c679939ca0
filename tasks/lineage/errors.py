"""Every error the engine raises, as one tree. Each message says what happened and what to do about it.

PedigreeError
├── ConfigError          a setting, a call or a declaration is wrong: change it, trying again cannot help
│   ├── CanonicalError   a value that cannot be written the same way twice was given as identity
│   ├── AcceptanceRefused  an output was to be taken for work that differs in more than code or libraries
│   └── AdoptionRefused    something made elsewhere was to be adopted under another declaration than before
├── DataError            the data are bad or empty: change the data or the settings that select them
│   └── LedgerError      documents in ≠ kept + dropped
├── StoreError           the store could not be read or written
│   ├── StoreFull        no space left: free some, then run again
│   └── NotFound         no artifact, record or stage answers to that name
└── StageError           a stage broke the contract (wrote nothing, or something that cannot be stored)
"""

import errno

FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class PedigreeError(Exception):
    """Base of all errors raised by Pedigree's engine."""


class ConfigError(PedigreeError, ValueError):
    """A setting, a call or a declaration is wrong. Never retried."""


class CanonicalError(ConfigError):
    """A value cannot be encoded the same way twice, so it cannot be part of a key."""


class AcceptanceRefused(ConfigError):
    """No existing output may stand for the work in question."""


class AdoptionRefused(ConfigError):
    """The same content was declared to be something else before."""


class DataError(PedigreeError, ValueError):
    """The data are bad, empty or unreadable. Never retried."""


class LedgerError(DataError):
    """A document ledger does not add up."""


class StoreError(PedigreeError):
    """The store could not be read or written."""


class StoreFull(StoreError):
    """No space left where the store lives."""


class NotFound(StoreError, LookupError):
    """Nothing in the store answers to the given name."""


class StageError(PedigreeError):
    """A stage broke the contract between stages and the engine."""


def is_full(error: BaseException) -> bool:
    """Whether `error`, or what caused it, says that a disk, quota or file-size limit is reached.

    Libraries that write through native code (safetensors, Arrow) lose the errno, so their text counts too.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, StoreFull) or (isinstance(seen, OSError) and seen.errno in FULL_ERRNOS):
            return True
        if "No space left on device" in str(seen) or "Disk quota exceeded" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
