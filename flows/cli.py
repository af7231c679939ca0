"""The command `pedigree`.

Answers go to standard output, progress of --json commands and every complaint to standard error. Exit codes: 0 done,
1 the run failed or something is damaged, 2 a setting or argument is wrong, 3 a server does not answer, 130 Ctrl-C.
"""

import argparse
import errno
import io
import sys
from collections.abc import Sequence

from flows.commands import (
    accept,
    adopt,
    asking,
    classifier,
    diff,
    forget,
    gc,
    impact,
    reproduce,
    serving,
    trace,
    verify,
    why,
)
from flows.commands.base import printable
from flows.errors import FlowError
from tasks.lineage.errors import PedigreeError

# In the order of --help.
COMMANDS = (serving, adopt, classifier, why, accept, asking, diff, impact, trace, reproduce, forget, verify, gc)
INTERRUPTED = 130
REMEDIES = {
    errno.ENOSPC: "free some disk, or point PEDIGREE_HOME (TMPDIR for temporary files) elsewhere",
    errno.EDQUOT: "free some disk, or point PEDIGREE_HOME (TMPDIR for temporary files) elsewhere",
    errno.EACCES: "give a place that this user may read and write",
    errno.EPERM: "give a place that this user may read and write",
    errno.EROFS: "give a place that can be written",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that is not UTF-8 cannot show every name and arrow
            stream.reconfigure(errors="backslashreplace")
    options = parser().parse_args(arguments)
    try:
        return int(options.command(options) or 0)
    except (FlowError, PedigreeError) as error:
        print(f"pedigree: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, FlowError) else 1
    except KeyboardInterrupt:
        print("pedigree: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `pedigree lineage … | head`
        sys.stderr.close()
        return 0
    except OSError as error:  # a full disk, a folder that may not be written: the user's to mend, and no bug of ours
        print(f"pedigree: {_told(error)}", file=sys.stderr)
        return 1


def _told(error: OSError) -> str:
    """What the system refused, where, and what to do."""
    where = f" ({printable(str(error.filename))})" if error.filename is not None else ""
    remedy = REMEDIES.get(error.errno or 0, "nothing half-written is in the store; mend that and call this again")
    return f"{printable(error.strerror or str(error))}{where}: {remedy}."


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(
        prog="pedigree",
        description="Trains a language model from raw text to PPO, and can say what it is made of.",
        epilog="State lives in ./.pedigree, or in the folder that PEDIGREE_HOME names.",
    )
    commands = root.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in COMMANDS:
        module.add(commands)
    return root


if __name__ == "__main__":
    sys.exit(main())
