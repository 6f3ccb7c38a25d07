"""Run a command beside busy loops: ``python tools/busy.py [--loops N] COMMAND...``.

The loops end with the command, and by themselves when this process is killed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

_LOOP = """
import os, sys
parent = int(sys.argv[1])
while os.getppid() == parent:
    for _ in range(1_000_000):
        pass
"""


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loops", type=int, default=2, help="how many, each for one core")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    if arguments.loops < 0 or not arguments.command:
        parser.error("give a command, and no fewer than 0 loops")
    loop = [sys.executable, "-c", _LOOP, str(os.getpid())]
    loops = [subprocess.Popen(loop) for _ in range(arguments.loops)]
    began = time.monotonic()
    try:
        return subprocess.run(arguments.command, check=False).returncode
    finally:
        for process in loops:
            process.kill()
            process.wait()
        seconds = time.monotonic() - began
        print(f"{seconds:.0f} s beside {arguments.loops} busy loops", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
