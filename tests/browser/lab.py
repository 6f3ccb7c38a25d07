"""A Jupyter server of our own and a chromium that shows it: for tests, screenshots, figures.

Nothing is read from or written to the user's Jupyter folders, and no request leaves the machine.
"""

from __future__ import annotations

import ast
import json
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nbformat
from browser.server import PATIENCE, Server
from playwright.sync_api import BrowserContext, Locator, Page, Request, sync_playwright
from playwright.sync_api import TimeoutError as PageTimeoutError

__all__ = [
    "HEIGHT",
    "IPYKERNEL_7_3",
    "PATIENCE",
    "WIDTH",
    "LabServer",
    "Notebook",
    "Opener",
    "chromium_path",
    "open_browser",
]

ROOT = Path(__file__).parents[2]
IPYKERNEL_7_3 = ROOT / ".venv" / "ipykernel-7.3"

WIDTH, HEIGHT = 1280, 900
"""Of a page, in pixels."""

_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {
        "checkForUpdates": False,
        "fetchNews": "false",
        "doNotDisturbMode": True,
    },
    # What a kernel completes is dropped after a second: a busy one needs longer.
    "@jupyterlab/completer-extension:manager": {"providerTimeout": 1000 * PATIENCE},
}

_SECONDS_OF_SILENCE = 15
_SEND_OR_STOP = re.compile(r"^(Send$|Stop)")
_SWITCH = """path => {
  const { commands, shell } = window.jupyterapp;
  const before = [...shell.widgets('main')];
  commands.execute('docmanager:open', { path, factory: 'Notebook' }).then(panel => {
    before.forEach(widget => widget.dispose());
    shell.activateById(panel.id);
  }).catch(error => { window.notOpened = String(error); });
}"""
_SHOWN = """() => {
  const shell = window.jupyterapp?.shell;
  const told = widget => [widget?.title.label, widget?.context?.path, widget?.context?.isReady];
  return {
    url: location.href,
    current: told(shell?.currentWidget),
    all: shell && [...shell.widgets('main')].map(told),
    dialogs: [...document.querySelectorAll('.jp-Dialog')].map(each => each.innerText),
    notOpened: window.notOpened,
    focus: [document.hasFocus(), document.visibilityState, document.activeElement?.className],
  };
}"""
_CHROMIUM_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # No route through Python: with one, every page would load all of JupyterLab without a cache.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


def chromium_path() -> Path | None:
    """The machine's chromium or Chrome, if there is one."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return Path(found)
    return None


class LabServer(Server):
    """One JupyterLab, with a folder for notebooks and a kernel for each ipykernel."""

    def __init__(self, folder: Path, *, theme: str = "JupyterLab Light") -> None:
        super().__init__("JupyterLab")
        self.root = folder / "notebooks"
        self.token = secrets.token_hex(16)
        self._home = folder / "home"
        self.root.mkdir(parents=True)
        self._write_settings(theme)
        self._write_kernel("python3", {})
        self._write_kernel("ipykernel-7.3", {"PYTHONPATH": str(IPYKERNEL_7_3)})
        self.start(
            self._command(),
            log=folder / "server.log",
            answers_at="/api",
            folder=self.root,
            environment=self._environment(),
        )

    def url(self, name: str, app: str = "lab/tree") -> str:
        """Where a notebook of the root opens: in JupyterLab, or in another app of the server."""
        return f"{self.address}/{app}/{name}?token={self.token}&reset"

    def _command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "jupyterlab"),
            "--no-browser",
            "--allow-root",
            "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={self.port}",
            "--ServerApp.port_retries=0",
            f"--ServerApp.root_dir={self.root}",
            f"--IdentityProvider.token={self.token}",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            "--LabApp.extension_manager=readonly",
            "--LabApp.expose_app_in_browser=True",
            "--JupyterNotebookApp.expose_app_in_browser=True",
        ]

    def _environment(self) -> dict[str, str]:
        theirs = ("JUPYTER", "IPYTHON", "XDG")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(theirs)}
        folders = {
            "HOME": "",
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
            "MPLCONFIGDIR": "matplotlib",
        }
        return kept | {name: str(self._home / folder) for name, folder in folders.items()}

    def _write_settings(self, theme: str) -> None:
        themes = {"@jupyterlab/apputils-extension:themes": {"theme": theme}}
        for plugin, values in (_SETTINGS | themes).items():
            package, name = plugin.split(":")
            path = self._home / "settings" / package / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values), encoding="utf-8")

    def _write_kernel(self, name: str, environment: dict[str, str]) -> None:
        path = self._home / "data" / "kernels" / name / "kernel.json"
        path.parent.mkdir(parents=True)
        kernel = {
            "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": name,
            "language": "python",
            "env": environment,
        }
        path.write_text(json.dumps(kernel), encoding="utf-8")


@contextmanager
def open_browser(
    chromium: Path, *, width: int = WIDTH, height: int = HEIGHT, outside: list[str] | None = None
) -> Iterator[BrowserContext]:
    """A chromium on a fresh profile; what it asks of other machines fails and is noted."""

    def note_outside(request: Request) -> None:
        url = urlsplit(request.url)
        is_inside = url.scheme in ("data", "blob", "file") or url.hostname == "127.0.0.1"
        if not is_inside and outside is not None:
            outside.append(request.url)

    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=chromium,
            headless=True,
            args=list(_CHROMIUM_OPTIONS),
            viewport={"width": width, "height": height},
        )
        context.on("request", note_outside)
        try:
            yield context
        finally:
            context.close()


class Notebook:
    """A notebook in a page: run its cells, read its outputs, ask its kernel."""

    def __init__(self, page: Page, server: LabServer, name: str, app: str = "lab/tree") -> None:
        self.page = page
        self.name = name
        self._server = server
        self._app = app

    @classmethod
    def write(
        cls,
        page: Page,
        server: LabServer,
        cells: Sequence[str],
        *,
        name: str = "test.ipynb",
        kernel: str = "python3",
        app: str = "lab/tree",
    ) -> Notebook:
        """Make a notebook of these cells in the server's root, and open it."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(source) for source in cells],
            metadata={"kernelspec": {"name": kernel, "display_name": kernel}},
        )
        nbformat.write(notebook, server.root / name)
        opened = cls(page, server, name, app)
        opened.switch()
        return opened

    def open(self, *, with_kernel: bool = True) -> None:
        """Load the page of the notebook and wait until it, and its kernel, are ready."""
        self.page.goto(self._server.url(self.name, self._app))
        self._wait_until_shown(with_kernel)

    def switch(self) -> None:
        """Open the notebook in place of what the page shows, if that is JupyterLab already."""
        if self._app == "lab/tree" and self.page.url.startswith(f"{self._server.address}/lab/"):
            self.page.evaluate(_SWITCH, self.name)
            self._wait_until_shown(with_kernel=True)
        else:
            self.open()

    def _wait_until_shown(self, with_kernel: bool) -> None:
        try:
            self.page.wait_for_function(
                """name => {
                  const panel = window.jupyterapp?.shell?.currentWidget;
                  return panel?.context?.path === name && panel.context.isReady;
                }""",
                arg=self.name,
                timeout=1000 * PATIENCE,
            )
        except PageTimeoutError as error:
            shown = self.page.evaluate(_SHOWN)
            raise AssertionError(f"{self.name} is not shown, but {shown}") from error
        if with_kernel:
            self.wait_for_kernel()

    def wait_for_kernel(self) -> None:
        """Wait until the kernel is connected and idle."""
        self._wait_for(
            """() => {
              const kernel =
                window.jupyterapp.shell.currentWidget.context.sessionContext.session?.kernel;
              return kernel?.connectionStatus === 'connected' && kernel.status === 'idle';
            }""",
            timeout=PATIENCE,
        )

    def _wait_for(self, condition: str, argument: object = None, *, timeout: float) -> None:
        """Wait for something that the kernel has to say; one of 7.3 is connected to now and then.

        A kernel of ipykernel 7.0 to 7.3 may leave a request lying (ipykernel #1529); it reads on as
        soon as somebody connects to it.
        """
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            try:
                self.page.wait_for_function(
                    condition, arg=argument, timeout=1000 * max(1, min(left, _SECONDS_OF_SILENCE))
                )
                return
            except PageTimeoutError:
                if time.monotonic() > deadline:
                    raise
                self.page.evaluate(
                    """() => {
                      const { context } = window.jupyterapp.shell.currentWidget;
                      const kernel = context.sessionContext.session?.kernel;
                      if (kernel?.name === 'ipykernel-7.3') kernel.reconnect().catch(() => {});
                    }"""
                )

    def save(self) -> None:
        """Write the notebook with its outputs."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")

    def shut_down(self) -> None:
        """End the kernel."""
        self.page.evaluate(
            """async () => {
              const context = window.jupyterapp?.shell?.currentWidget?.context?.sessionContext;
              await context?.shutdown();
            }"""
        )

    def start(self, index: int) -> None:
        """Start a cell, and do not wait for it."""
        self.page.evaluate(
            """index => {
              const app = window.jupyterapp;
              app.shell.currentWidget.content.activeCellIndex = index;
              window.ended ??= {};
              window.ended[index] = false;
              app.commands.execute('notebook:run-cell').finally(
                () => { window.ended[index] = true; });
            }""",
            index,
        )

    def wait(self, index: int, timeout: float = PATIENCE) -> None:
        """Wait until a started cell has ended."""
        self._wait_for("index => window.ended?.[index]", index, timeout=timeout)

    def run(self, *indices: int, timeout: float = PATIENCE) -> None:
        """Run cells, or all of them, one after the other; none may raise."""
        for index in indices or range(self.n_cells):
            self.start(index)
            self.wait(index, timeout)
            for output in self.outputs(index):
                if output["output_type"] == "error":
                    raise AssertionError("\n".join(output["traceback"]))

    def stop(self, index: int) -> None:
        """Press Stop below a cell, by a key: while an answer grows the button moves under a mouse.

        If the answer has ended by then, nothing happens: the button is Send, and nothing is typed.
        """
        self.area(index).get_by_role("button", name=_SEND_OR_STOP).press("Enter")

    @property
    def n_cells(self) -> int:
        """How many cells there are."""
        return int(
            self.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets.length")
        )

    def outputs(self, index: int) -> list[dict[str, Any]]:
        """The outputs of a cell, as the file would hold them; a Markdown cell has none."""
        outputs: list[dict[str, Any]] = self.page.evaluate(
            """index => window.jupyterapp.shell.currentWidget.content
              .widgets[index].model.outputs?.toJSON() ?? []""",
            index,
        )
        return outputs

    def text(self, index: int) -> str:
        """What a cell has printed."""
        return "".join(
            "".join(output["text"])
            for output in self.outputs(index)
            if output["output_type"] == "stream"
        )

    def area(self, index: int) -> Locator:
        """The place below a cell where its outputs are shown."""
        return (
            self.page.locator(".jp-Notebook .jp-Cell")
            .nth(index)
            .locator(".jp-OutputArea:not(.jp-OutputArea .jp-OutputArea)")
        )

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the kernel, where it is a literal."""
        self.page.evaluate(
            """expression => {
              const kernel =
                window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
              const future = kernel.requestExecute({
                code: '', silent: true, store_history: false,
                user_expressions: { value: expression },
              });
              window.answer = null;
              future.done.then(reply => { window.answer = reply.content; });
            }""",
            expression,
        )
        self._wait_for("() => window.answer", timeout=PATIENCE)
        reply: dict[str, Any] = self.page.evaluate("() => window.answer")
        value = reply["user_expressions"]["value"]
        if value["status"] != "ok":
            raise AssertionError(f"{value['ename']}: {value['evalue']}")
        return ast.literal_eval(value["data"]["text/plain"])

    def wait_until(self, expression: str, timeout: float = PATIENCE) -> None:
        """Wait until an expression is true in the kernel."""
        deadline = time.monotonic() + timeout
        while not self.evaluate(f"bool({expression})"):
            if time.monotonic() > deadline:
                raise AssertionError(f"never true in the kernel: {expression}")
            self.page.wait_for_timeout(50)


Opener = Callable[..., Notebook]
