"""Which side of a split something falls on: a pure function of a seed and its name.

Nothing is shuffled, so of what is split by origin a new package or file never moves an old one to the other side. Where
all origins of a source fall on one side, it is split by something finer (``sides``). The first new origin that falls on
the other side ends that, and moves what was split finer.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping

TRAIN = "train"
EVALUATION = "evaluation"


def fraction(seed: int, *names: str) -> float:
    """A number in [0, 1), uniform over names and fixed by the seed."""
    digest = hashlib.sha256("\0".join([str(seed), *names]).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def family(package: str) -> str:
    """Related distributions share a family, and so a side: ``mlflow-skinny`` → ``mlflow``, ``httpx2`` → ``httpx``.

    They hold copies of one another's text, which would otherwise leak over the split.
    """
    first = re.split(r"[-_.]+", package.lower())[0]
    return first.rstrip("0123456789") or first


def side(seed: int, evaluation_share: float, name: str) -> str:
    """``"evaluation"`` for a share of all names, ``"train"`` for the rest."""
    return EVALUATION if fraction(seed, "evaluation", name) < evaluation_share else TRAIN


def sides(seed: int, evaluation_share: float, names: Iterable[str]) -> dict[str, str] | None:
    """The side of each name; None if they all fall on one side, so that a finer unit has to be split.

    With ``evaluation_share`` 0 everything is training text and nothing finer is needed.
    """
    found = {name: side(seed, evaluation_share, name) for name in names}
    if evaluation_share > 0 and len(set(found.values())) < 2:
        return None
    return found


def choose(seed: int, name: str, shares: Mapping[str, float]) -> str:
    """One of the named shares (they sum to 1), by the hash of ``name``."""
    point, reached = fraction(seed, "share", name), 0.0
    for label, share in shares.items():
        reached += share
        if point < reached:
            return label
    return next(label for label in reversed(list(shares)) if shares[label] > 0)
