"""Run a long pip command and show, in one line, how far it is.

Used as ``python tools/progress.py LOG COMMAND...``. Everything the command says is appended to LOG,
and the end of it is shown if the command fails. The exit status is the command's.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO

TAIL_LINES = 40
TAIL_WIDTH = 200
MILESTONE = 10  # percent, between two lines where the output is no terminal

PIP_STEP = re.compile(r"\s*(Collecting|Building wheel for|Installing collected) ([\w.-]+)")
NINJA_STEP = re.compile(r"\s*\[(\d+)/(\d+)\] ")


class Reporter:
    """Turns lines of pip's and ninja's output into a status.

    A terminal gets one line that is rewritten, at least once a second; anything else gets a line
    for every tenth of a build.
    """

    def __init__(self, out: IO[str]) -> None:
        self.out = out
        self.live = out.isatty()
        self.started = time.monotonic()
        self.status = "starting"
        self.subject = ""
        self.milestone = 0

    def feed(self, line: str) -> None:
        """Take note of one line of output."""
        if step := PIP_STEP.match(line):
            verb, self.subject = step.groups()
            self.status = f"{verb.split()[0].lower()} {self.subject}"
            self.milestone = 0
        elif step := NINJA_STEP.match(line):
            done, total = map(int, step.groups())
            self.status = f"compiling {self.subject}, step {done} of {total}"
            reached = 100 * done // total // MILESTONE * MILESTONE
            if done == 1 or reached > self.milestone:
                self.milestone = reached
                self.print_line()

    def print_line(self) -> None:
        """Print the status as a line of its own, unless a terminal shows it anyway."""
        if not self.live:
            print(f"  {self.elapsed()}  {self.status}", file=self.out, flush=True)

    def redraw(self, stop: threading.Event) -> None:
        """Rewrite the terminal's line until `stop` is set, then clear it."""
        while self.live and not stop.wait(0.2):
            self.out.write(f"\r\x1b[K  {self.elapsed()}  {self.status[:60]}")
            self.out.flush()
        if self.live:
            self.out.write("\r\x1b[K")

    def elapsed(self) -> str:
        """Return the time since the start as minutes and seconds."""
        minutes, seconds = divmod(int(time.monotonic() - self.started), 60)
        return f"{minutes}:{seconds:02}"


def run(log: Path, command: list[str]) -> int:
    """Run `command`, write its output to `log`, and return its exit status."""
    reporter = Reporter(sys.stdout)
    stop = threading.Event()
    redraw = threading.Thread(target=reporter.redraw, args=(stop,))
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    with (
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        print("$", *command, file=file)
        redraw.start()
        try:
            for line in process.stdout:
                file.write(line)
                tail.append(line)
                reporter.feed(line)
        finally:
            stop.set()
            redraw.join()

    if process.returncode:
        for line in tail:
            print(line.rstrip()[:TAIL_WIDTH], file=sys.stderr)
        print(f"Failed after {reporter.elapsed()}; everything is in {log}.", file=sys.stderr)
    else:
        print(f"Done in {reporter.elapsed()}.")
    return process.returncode


if __name__ == "__main__":
    try:
        sys.exit(run(Path(sys.argv[1]), sys.argv[2:]))
    except KeyboardInterrupt:
        sys.exit(130)
