"""The timeline in a real JupyterLab: how soon it is there, and what a click and a token cost.

A conversation of 1,000 and of 10,000 checkpoints on a tiny model, in JupyterLab in headless
chromium. *Shown* is from starting the cell until the frame after its first row. *Click* is from a
click on a row until the frame in which that row is the head's: by way of the kernel and back. The
bytes of a token are those of all messages to the timeline while an answer streams, divided by the
tokens; the messages are counted by the second.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .pairing import Spread
from .report import Effort, Row, Table

__all__ = ["run"]

_TESTS = Path(__file__).parents[1] / "tests"
_SHOWN = {1_000: 0.5, 10_000: 1.5}  # seconds that it may take
_CLICK = 0.1
_BYTES_A_TOKEN = 300
_MESSAGES_A_SECOND = 30
_TOKENS = 400

_GROWN = """
import random
from mullama_nb import Chat
from mullama_nb.widgets import Timeline
chat = Chat("tiny.gguf", n_ctx=2048, n_threads=1, seed=1)
draw, tree, context, ends = random.Random(1), chat.tree, chat.context, [chat.head]
def grow(n):
    while len(tree) < n:
        if len(ends) % 12 == 0:
            tree.checkout(draw.choice(ends[-80:]))
        if context.n_ctx - context.token_count() < 600:
            tree.checkout(draw.choice([end for end in ends if end.stop < 600]))
        context.evaluate([draw.randrange(300, 500)])
        tree.commit()
        ends.append(tree.head)
"""
_SHOW = """index => new Promise(done => {
  const app = window.jupyterapp, began = performance.now();
  const cell = document.querySelectorAll('.jp-Notebook .jp-Cell')[index];
  const seen = new MutationObserver(() => {
    if (!cell.querySelector('.mullama-row')) return;
    seen.disconnect();
    requestAnimationFrame(() => done(performance.now() - began));
  });
  seen.observe(cell, { subtree: true, childList: true });
  app.shell.currentWidget.content.activeCellIndex = index;
  app.commands.execute('notebook:run-cell');
})"""
_CLICKED = """index => new Promise(done => {
  const cell = document.querySelectorAll('.jp-Notebook .jp-Cell')[index];
  const row = cell.querySelector('.mullama-row[aria-selected=false]:not(.growing)');
  const id = row.dataset.id, began = performance.now();
  const seen = new MutationObserver(() => {
    if (!cell.querySelector(`.mullama-row[data-id="${id}"][aria-selected=true]`)) return;
    seen.disconnect();
    requestAnimationFrame(() => done(performance.now() - began));
  });
  seen.observe(cell, { subtree: true, childList: true, attributes: true });
  row.click();
})"""
_LISTEN = """() => {
  const { kernel } = window.jupyterapp.shell.currentWidget.context.sessionContext.session;
  window.heard = [];
  kernel.iopubMessage.connect((_, message) => {
    if (message.header.msg_type !== 'comm_msg') return;
    const size = new TextEncoder().encode(JSON.stringify(message.content)).length;
    window.heard.push([performance.now() / 1000, message.content.comm_id, size]);
  });
}"""


def _row(case: str, figure: str, target: str, *, reached: bool) -> Row:
    verdict = f"{target} {'reached' if reached else 'MISSED'}"
    values = {"case": case, "figure": figure, "target": target, "reached": reached}
    return Row({"case": case, "figure": figure, "target": verdict}, values)


def _seconds(case: str, milliseconds: Sequence[float], target: float) -> Row:
    spread = Spread.of([each / 1000 for each in milliseconds])
    figure = f"{spread.median:.3f} s ({spread.low:.3f} to {spread.high:.3f})"
    return _row(case, figure, f"{target:g} s", reached=spread.median <= target)


def _streaming(notebook: Any, n_checkpoints: int, index: int) -> Iterator[Row]:
    widget = notebook.evaluate("shown.comm.comm_id")
    notebook.page.evaluate(_LISTEN)
    notebook.run(index)
    notebook.page.wait_for_timeout(500)
    heard = [each for each in notebook.page.evaluate("window.heard") if each[1] == widget]
    n_tokens = notebook.evaluate("len(chat.turns[-1].tokens)")
    n_bytes = sum(size for _, _, size in heard) / n_tokens
    case = f"a token of {n_tokens}, streamed beside {n_checkpoints:,} checkpoints"
    yield _row(case, f"{n_bytes:.0f} bytes", "300 bytes", reached=n_bytes < _BYTES_A_TOKEN)
    times = [at for at, _, _ in heard]
    most = max(sum(at <= other < at + 1 for other in times) for at in times)
    case = f"most messages in a second beside {n_checkpoints:,}"
    yield _row(case, str(most), "30", reached=most <= _MESSAGES_A_SECOND)


def _rows(
    lab: Any, server: Any, page: Any, n_checkpoints: int, target: float, rounds: int
) -> Iterator[Row]:
    ask = f'chat.ask("Go on.", max_tokens={_TOKENS}, echo=False) and None'
    cells = [_GROWN, f"grow({n_checkpoints})", "shown = Timeline(chat)\nshown", ask]
    notebook = lab.Notebook.write(page, server, cells, name=f"{n_checkpoints}.ipynb")
    notebook.run(0)
    notebook.run(1, timeout=900)
    shown = []
    for _ in range(rounds):
        shown.append(page.evaluate(_SHOW, 2))
        page.wait_for_timeout(300)
    yield _seconds(f"{n_checkpoints:,} checkpoints shown", shown, target)
    clicks = []
    for _ in range(3 * rounds):
        clicks.append(page.evaluate(_CLICKED, 2))
        page.wait_for_timeout(100)
    yield _seconds(f"a click among {n_checkpoints:,}", clicks, _CLICK)
    notebook.evaluate("tree.checkout([end for end in ends if end.stop < 600][-1]) and None")
    yield from _streaming(notebook, n_checkpoints, 3)
    notebook.shut_down()


def run(effort: Effort) -> Sequence[Table]:
    """Measure both sizes; a trial has one."""
    sys.path.insert(0, str(_TESTS))  # the tests know how to run a JupyterLab
    lab, tiny = importlib.import_module("browser.lab"), importlib.import_module("tiny_models")
    table = Table("In JupyterLab", "headless chromium, a tiny model, everything on one machine")
    chromium = lab.chromium_path()
    if chromium is None:
        raise SystemExit("there is no chromium to measure in; run tools/chromium.py")
    with tempfile.TemporaryDirectory() as folder:
        server = lab.LabServer(Path(folder) / "lab")
        try:
            tiny.make_model(server.root / "tiny.gguf", "llama", chat_template=tiny.CHATML)
            with lab.open_browser(chromium) as browser:
                sizes = list(_SHOWN.items())[: 1 if effort.is_trial else None]
                for n, target in sizes:
                    page = browser.new_page()
                    rounds, n_checkpoints = max(3, effort.rounds // 2), max(40, effort.scaled(n))
                    for row in _rows(lab, server, page, n_checkpoints, target, rounds):
                        table.add(row)
                    page.close()
        finally:
            server.close()
    return [table]
