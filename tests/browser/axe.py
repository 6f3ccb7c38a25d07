"""axe-core in a page: it finds what keeps out those who do not see, point or read as others do."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from javascript import deno
from playwright.sync_api import Locator

__all__ = ["findings"]

_ROOT = Path(__file__).parents[2]

# Two rules more than axe-core has on: who steers by voice says what is written on a button (WCAG
# 2.5.3), and whose hand trembles needs room to hit it (WCAG 2.5.8).
# A body without a height, as JupyterLab's, would count as hiding all that is in it.
_RUN = """
async areas => {
  document.body.style.height = '100vh';
  const id = 'label-content-name-mismatch';
  axe.configure({ rules: [{ id, selector: 'button' }] });
  const rules = { [id]: { enabled: true }, 'target-size': { enabled: true } };
  const { violations, passes, incomplete } = await axe.run(areas, { rules, elementRef: true });
  const isRead = new Set([...violations, ...passes, ...incomplete].flatMap(({ id, nodes }) =>
    id === 'color-contrast' ? nodes.map(({ element }) => element) : []));
  const texts = areas.flatMap((area) => [area, ...area.querySelectorAll('*')]).filter((node) =>
    node.checkVisibility({ opacityProperty: true }) &&
    [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()));
  return {
    n_texts: texts.length,
    n_read: texts.filter((node) => isRead.has(node)).length,
    found: violations.flatMap(({ id, impact, nodes }) =>
      nodes.map(({ target, html, failureSummary }) =>
        `${impact} ${id}: ${target.join(' ')}\\n  ${html.slice(0, 200)}\\n  ${failureSummary}`)),
  };
}
"""


@cache
def _script() -> str:
    """The script, from Deno's cache: ``make`` puts it there, and deno.json has its version."""
    place = os.environ.get("DENO_DIR") or str(Path(sys.prefix) / "deno")
    done = subprocess.run(
        [deno(), "eval", "--cached-only", "import axe from 'axe-core'; console.log(axe.source)"],
        cwd=_ROOT,
        env=os.environ | {"DENO_DIR": place, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise AssertionError(
            f"there is no axe-core: make test, or DENO_DIR={place} deno install\n{done.stderr}"
        )
    return done.stdout


def findings(areas: Locator) -> str:
    """Return what axe-core finds in some elements of a page, however light; empty for nothing.

    Raises
    ------
    AssertionError
        When there is no axe-core, or it has not read most of the texts.
    """
    areas.page.evaluate(_script())
    told = areas.evaluate_all(_RUN)
    assert told["n_read"] > told["n_texts"] / 2, (told["n_read"], told["n_texts"])
    return "\n\n".join(told["found"])
