"""The widgets' scripts, called from Python in node or, where that is missing, in Deno.

Deno comes with the test extra, so there is no machine where these tests are skipped.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

__all__ = ["FRONT_END", "JavaScript", "JavaScriptError", "deno"]

FRONT_END = Path(__file__).parents[1] / "mullama_nb" / "widgets" / "front_end"

# One line of JSON for a call, and one for what it gives.
_LOOP = """
import { createInterface } from "node:readline";
import process from "node:process";
for await (const line of createInterface({ input: process.stdin })) {
  const { module, name, args } = JSON.parse(line);
  let reply;
  try {
    reply = { value: (await (await import(module))[name](...args)) ?? null };
  } catch (error) {
    reply = { error: String(error.stack ?? error) };
  }
  process.stdout.write(JSON.stringify(reply) + "\\n");
}
"""


class JavaScriptError(Exception):
    """What a script threw."""


class JavaScript:
    """A process that calls functions of modules.

    Parameters
    ----------
    folder : Path
        Where it may put a file.
    """

    def __init__(self, folder: Path) -> None:
        loop = folder / "loop.mjs"
        loop.write_text(_LOOP, encoding="utf-8")
        self._process = subprocess.Popen(
            [*_runtime(), str(loop)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def call(self, module: Path, name: str, *args: Any) -> Any:
        """Call a function that a module exports, and return what it gives as JSON."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        call = {"module": module.as_uri(), "name": name, "args": args}
        self._process.stdin.write(json.dumps(call) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise JavaScriptError(f"the process ended with status {self._process.wait()}")
        reply = json.loads(line)
        if "error" in reply:
            raise JavaScriptError(reply["error"])
        return reply["value"]

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def _runtime() -> list[str]:
    node = shutil.which("node")
    return [node] if node else [deno(), "run", "--no-config", "--allow-all", "--quiet"]


def deno() -> str:
    """Return where Deno is."""
    scripts = sysconfig.get_path("scripts")
    found = shutil.which("deno", path=scripts) or shutil.which("deno")
    if found is None:
        raise JavaScriptError("there is neither node nor Deno: pip install -e '.[test]'")
    return found
