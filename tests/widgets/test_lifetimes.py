"""Cells that are run again and again in real kernels: what they leave behind."""

from __future__ import annotations

import ast
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hang_guard import PATIENCE
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from kernel_sockets import KernelManager
from tiny_models import CHATML, make_model

IPYKERNEL_7_3 = Path(__file__).parents[2] / ".venv" / "ipykernel-7.3"

BEGIN = """
import gc, threading, weakref
import llama_cpp
import mullama_nb
from ipywidgets import HBox, Widget
from mullama_nb import Chat, CheckpointTree, Context, ContextParams, Model
from mullama_nb.widgets import (
    CellMap, ChatPanel, ChatView, Choice, Explorer, KVPlot, Lens, Likely, SessionBrowser, Timeline,
    UndoRedo
)
from mullama_nb.engine import resting

native = 0
def counting(function, step):
    def call(*arguments):
        global native
        native += step
        return function(*arguments)
    return call
llama_cpp.llama_init_from_model = counting(llama_cpp.llama_init_from_model, 1)
llama_cpp.llama_free = counting(llama_cpp.llama_free, -1)

model = Model.load("tiny.gguf")
N = dict(n_ctx=4096, n_threads=1, n_threads_batch=1)
made = weakref.WeakSet()
def new():
    chat = Chat(model, **N)
    made.add(chat)
    return chat

def count():
    threads = [t.name for t in threading.enumerate() if t.name.startswith("mullama")]
    owners = [c.owner for c in resting._contexts if c.owner]
    subscriptions = [len(tree._workspace.observers._subscriptions) for tree in owners]
    return {
        "native": native,
        "workers": sum("context" in name for name in threads),
        "observers": sum("observers" in name for name in threads),
        "subscriptions": sum(subscriptions),
        "chats": len(made),
    }
"""


class Kernel:
    """A kernel that runs cells as a notebook does."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        spec = folder / "kernels" / "here" / "kernel.json"
        spec.parent.mkdir(parents=True)
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        named = {"argv": argv, "display_name": "here", "language": "python", "env": environment}
        spec.write_text(json.dumps(named))
        specs = KernelSpecManager(kernel_dirs=[str(folder / "kernels")])
        self._manager = KernelManager(kernel_name="here", kernel_spec_manager=specs)
        inherited = {k: v for k, v in os.environ.items() if k != "IPYTHONDIR"}
        self._manager.start_kernel(
            cwd=str(folder), env=inherited | {"IPYTHONDIR": str(folder / "ipython")} | environment
        )
        self.client: BlockingKernelClient = self._manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE)
        self.messages: list[dict[str, Any]] = []

    def run(self, cell: str) -> None:
        """Run a cell; it may not raise."""
        reply = self.client.execute_interactive(
            cell, store_history=True, timeout=PATIENCE, output_hook=self.messages.append
        )
        assert reply["content"]["status"] == "ok", reply["content"].get("traceback")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression, beside what cells have shown."""
        reply = self.client.execute_interactive(
            "",
            store_history=False,
            silent=True,
            user_expressions={"value": expression},
            timeout=PATIENCE,
        )
        value = reply["content"]["user_expressions"]["value"]
        assert value["status"] == "ok", value
        return ast.literal_eval(value["data"]["text/plain"])

    def close(self) -> None:
        self.client.stop_channels()
        self._manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module", params=["7.4", "7.3"])
def kernel(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kernel]:
    environment = {}
    if request.param == "7.3":
        if not IPYKERNEL_7_3.is_dir():
            pytest.skip("there is no second ipykernel; `make test` installs it")
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(IPYKERNEL_7_3), os.environ.get("PYTHONPATH", "")])
        )
    folder = tmp_path_factory.mktemp("kernel")
    make_model(folder / "tiny.gguf", "llama", chat_template=CHATML)
    made = Kernel(folder, environment)
    made.run(BEGIN)
    made.run(
        "import ipykernel; assert ipykernel.__version__.startswith(" + repr(request.param) + ")"
    )
    yield made
    made.close()


SHOWN = {
    "chat": "chat = new(); chat",
    "display chat": "chat = new(); display(chat)",
    "unbound": "new()",
    "display unbound": "display(new())",
    "panel": "chat = new(); ChatPanel(chat)",
    "display panel": "chat = new(); display(ChatPanel(chat))",
    "view": "chat = new(); display(ChatView(chat))",
    "timeline": "chat = new(); Timeline(chat)",
    "timeline of a tree": "chat = new(); display(Timeline(chat.tree))",
    "plot": "chat = new(); display(KVPlot(chat))",
    "cells": "chat = new(); display(CellMap(chat))",
    "lens": "chat = new(); chat.context.evaluate('a'); chat.tree.commit(); display(Lens(chat))",
    "undo and redo": "chat = new(); UndoRedo(chat)",
    "explorer": "chat = new(); display(Explorer(chat))",
    "likely": "chat = new(); chat.ask('a', max_tokens=1, echo=False); Likely(chat)",
    "likely value": "chat = new(); chat.ask('a', max_tokens=1, echo=False); chat.likely(2)",
    "choice": "chat = new(); chat.ask('a', max_tokens=1, echo=False); display(Choice(chat))",
    "browser": "chat = new(); display(SessionBrowser('sessions', chat))",
    "box": "chat = new(); HBox([ChatPanel(chat), Timeline(chat)])",
    "display box": "chat = new(); display(HBox([ChatPanel(chat), Timeline(chat)]))",
    "all": "chat = new(); panel = ChatPanel(chat); display(Timeline(chat), panel); chat",
    "answer": "chat = new(); chat.ask('hello', max_tokens=2, echo=False)",
    "answers": (
        "chat = new(); chat.ask('a', max_tokens=1, echo=False); chat.explore(n=2, max_tokens=2)"
    ),
    "tree": "chat = new(); chat.tree",
}


MANY = ("chat", "display panel", "box")


@pytest.mark.slow
@pytest.mark.parametrize("shown", SHOWN)
def test_a_cell_that_is_run_again_keeps_no_old_cells(kernel: Kernel, shown: str) -> None:
    kernel.run("chat = panel = None")
    kernel.run("None")
    kernel.run("None")
    before = kernel.evaluate("count()")
    most = 0
    for _ in range(21 if shown in MANY else 5):
        kernel.run(SHOWN[shown])
        most = max(most, kernel.evaluate("native"))
    kernel.run("None")
    after = kernel.evaluate("count()")
    # The one that is bound, that of the latest output, and one more while a cell runs.
    assert most - before["native"] <= 3
    assert after["native"] - before["native"] <= 2
    assert after["workers"] <= 3
    assert after["subscriptions"] <= 17
    kernel.run("chat = panel = None")
    kernel.run("None")
    kernel.run("None")
    assert kernel.evaluate("native") <= before["native"]


@pytest.mark.slow
def test_what_is_dropped_listens_no_more(kernel: Kernel) -> None:
    kernel.run("chat = new()")
    before = kernel.evaluate("count()")["subscriptions"]
    kinds = (
        "CellMap, ChatPanel, ChatView, Choice, Explorer, KVPlot, Lens, Likely, Timeline, UndoRedo"
    )
    # In cells of less than 1,000 messages: more that nobody has read yet, ZeroMQ throws away.
    for _ in range(12):
        kernel.run(f"for _ in range(5):\n    for kind in ({kinds}):\n        kind(chat)")
    kernel.run("del kind")
    assert kernel.evaluate("count()")["subscriptions"] <= before
    for _ in range(10):
        kernel.run("for _ in range(30): display(Timeline(chat))")
    assert kernel.evaluate("len(chat.tree._workspace.observers._subscriptions)") <= 16


@pytest.mark.slow
def test_what_the_history_holds_is_what_it_was(kernel: Kernel) -> None:
    kernel.run("chat = new(); chat.ask('hello', max_tokens=3, seed=1, echo=False); chat")
    kernel.run("n = max(Out)")
    kernel.run("chat = None")
    kernel.run("None")
    assert kernel.evaluate("Out[n].context.is_resting")
    kernel.run("said = Out[n].ask('more', max_tokens=3, seed=2, echo=False).tokens")
    kernel.run(
        "twin = new(); twin.ask('hello', max_tokens=3, seed=1, echo=False)\n"
        "assert twin.ask('more', max_tokens=3, seed=2, echo=False).tokens == said"
    )
    kernel.run("twin = None")
