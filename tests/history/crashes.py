"""Killing a notebook at random, and running its cells again from the top."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

__all__ = ["crash"]

_CHILD = Path(__file__).with_name("notebook_child.py")
_LOST = re.compile(r"(\d+) lost of (\d+)\n")


def crash(
    model: Path, folder: Path, n_rounds: int, *, seed: int, n_ctx: int = 512
) -> tuple[int, int, int]:
    """Run, kill and run again.

    Returns
    -------
    int
        Turns that were said to be over.
    int
        Those of them that were gone afterwards.
    int
        Runs that failed otherwise.
    """
    rng, turns, n_lost, n_failed = random.Random(seed), list[str](), 0, 0
    for number in range(n_rounds + 1):
        child = subprocess.Popen(
            [sys.executable, _CHILD, model, folder, str(n_ctx), *turns[-200:]],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        found = _LOST.match(child.stdout.readline())
        before = ""
        if found is not None and number < n_rounds:
            # Anywhere: in an answer, between its last token and its end, right after it.
            before = child.stdout.read(rng.randrange(1, 60))
        child.kill()
        rest, said = child.communicate()
        if found is None:
            n_failed += 1
            sys.stderr.write(said)
            continue
        n_lost += int(found[1])
        turns += re.findall("([0-9a-f]{20})\n", before + rest)
    return len(turns), n_lost, n_failed
