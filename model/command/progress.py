"""Progress on stderr: one line that is rewritten on a terminal, a line now and then elsewhere."""

import sys
import time

SECONDS_BETWEEN = {True: 0.1, False: 10.0}  # on a terminal, elsewhere


class Progress:
    """How far some work is, and how long it will take, judged by the time since the first report."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.terminal = sys.stderr.isatty()
        self._shown = -float("inf")
        self._began: tuple[float, int] | None = None
        self._open = False

    def report(self, done: int, total: int, what: str, *facts: str) -> None:
        """Shows "what done/total", the facts, and the time left. Call it after each piece of work."""
        now = time.monotonic()
        began, first = self._began = self._began or (now, done)
        if done < total and now - self._shown < SECONDS_BETWEEN[self.terminal]:
            return
        self._shown = now
        parts = [f"{what} {done:,}/{total:,}", *facts]
        if first < done < total:
            parts.append(f"{duration((now - began) * (total - done) / (done - first))} left")
        self._write("  ".join(parts), end=done >= total)

    def say(self, line: str) -> None:
        """Shows a line that stays."""
        self.close()
        self._write(line, end=True)

    def close(self) -> None:
        """Ends a line that is being rewritten."""
        if self._open:
            self._open = False
            print(file=sys.stderr, flush=True)

    def _write(self, line: str, end: bool) -> None:
        if self.quiet:
            return
        if self.terminal:
            self._open = not end
            print(f"\r\033[K{line}", end="\n" if end else "", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """1:02:03, or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
