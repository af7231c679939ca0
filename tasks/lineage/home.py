"""Where state lives: one folder, `$PEDIGREE_HOME` or `./.pedigree`, and nothing anywhere else.

home/
├── objects/<digest>/      stage outputs, read-only, named by their content
├── records/<key>.json     what was made, from what, by which code
├── metrics/<key>.jsonl    every figure a stage logged, row by row
├── work/<key>/            unfinished work: outlives attempts, gone on success
├── locks/<key>            one process at a time works on a key
├── aside/                 damaged outputs, kept for a person to look at
├── tombstones/<digest>    of outputs that were deleted on purpose
├── trash/                 what is being deleted
└── runs/<flow run>/       the journal: what is running, what ran
"""

import os
from pathlib import Path


def home() -> Path:
    """Absolute path of the state folder. It need not exist yet."""
    return Path(os.environ.get("PEDIGREE_HOME") or ".pedigree").expanduser().absolute()
