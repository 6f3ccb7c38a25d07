"""The pytest plugin, in runs of pytest as its users start them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import nbval.plugin  # noqa: F401 - a run within this process forgets what it has imported
import pytest

from mullama_nb import Chat, Model
from mullama_nb.testing import record, sanitize_file

pytest_plugins = ["pytester"]
Run = Callable[..., pytest.RunResult]
PACKAGE = Path(__file__).parents[2] / "mullama_nb"


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """Run pytest in the folder, with warnings as errors and the plugin from its entry point."""

    def start(*options: str) -> pytest.RunResult:
        return pytester.runpytest_inprocess("-v", "-W", "error", "-p", "no:cacheprovider", *options)

    return start


@pytest.fixture
def model(tiny_models: tuple[Model, Model]) -> str:
    """What to give for --mullama-model."""
    return f"--mullama-model={tiny_models[0].path}"


@pytest.fixture
def file(tiny_models: tuple[Model, Model], pytester: pytest.Pytester) -> Path:
    """A recording in the folder."""
    chat = Chat(tiny_models[0], "Be brief.", n_ctx=256, temperature=0, n_threads=1)
    chat.ask("hello", max_tokens=6)
    chat.tag("greeting")
    record(chat, path := pytester.path / "hello.mullama.json")
    return path


def test_recordings_are_tests_with_the_option_alone(run: Run, file: Path, model: str) -> None:
    assert run().ret == 5  # nothing is collected
    done = run("--mullama", model)
    assert "hello.mullama.json::replay PASSED" in done.stdout.str(), done.stdout.str()
    assert done.ret == 0
    assert file.exists()


def test_a_failure_is_the_report(
    run: Run, file: Path, model: str, tiny_models: tuple[Model, Model]
) -> None:
    done = run("--mullama", f"--mullama-model={tiny_models[1].path}")
    assert done.ret == 1
    assert "FAILED at level probabilities: 3 checkpoints, 6 generated tokens" in done.stdout.str()
    assert "assistant [greeting]: FAILED" in done.stdout.str()
    assert "differs from token 0 on" in done.stdout.str()
    assert "Traceback" not in done.stdout.str()
    file.write_text(file.read_text("utf-8")[:-9], "utf-8")
    cut = run("--mullama", model)
    assert cut.ret == 1
    assert "hello.mullama.json: it is not JSON, or was cut short" in cut.stdout.str()
    assert "Error" not in cut.stdout.str().replace("RecordingError", "")


def test_update_leads_the_conversation_again(
    run: Run, file: Path, tiny_models: tuple[Model, Model]
) -> None:
    before = json.loads(file.read_text("utf-8"))
    other = f"--mullama-model={tiny_models[1].path}"
    assert run("--mullama-update", other).ret == 0
    after = json.loads(file.read_text("utf-8"))
    assert after["model"] == "tiny1"
    ids, others = ([e["id"] for e in body["entries"]] for body in (before, after))
    assert ids == others
    assert before["tags"] == after["tags"]
    assert before["entries"][0] == after["entries"][0]
    assert before["entries"][-1]["tokens"] != after["entries"][-1]["tokens"]
    said = Chat(tiny_models[1], "Be brief.", n_ctx=256, temperature=0, n_threads=1)
    assert after["entries"][-1]["text"] == said.ask("hello", max_tokens=6).text
    assert run("--mullama", other).ret == 0


@pytest.mark.usefixtures("file")
def test_another_cache_type(run: Run, model: str) -> None:
    assert run("--mullama", model, "--mullama-kv=f32").ret == 0
    unknown = run("--mullama", model, "--mullama-kv=q9")
    assert unknown.ret == 1
    assert "'q9' is unknown" in unknown.stdout.str()


def test_the_model_is_looked_up_by_its_name(
    run: Run, recording: Path, file: Path, pytester: pytest.Pytester
) -> None:
    (pytester.path / "colours.mullama.json").write_bytes(recording.read_bytes())
    done = run("--mullama")
    assert "colours.mullama.json::replay PASSED" in done.stdout.str()
    assert "hello.mullama.json::replay FAILED" in done.stdout.str()
    assert "made with 'tiny0', which is not known here" in done.stdout.str()
    assert file.exists()


@pytest.mark.slow
def test_it_lives_beside_nbval(file: Path, model: str, pytester: pytest.Pytester) -> None:
    notebook = nbformat.v4.new_notebook()
    cell = nbformat.v4.new_code_cell(
        "from mullama_nb.testing import words\nprint('same:', True)\nprint(words('two\\nlines'))"
    )
    cell.execution_count = 1
    cell.outputs = [nbformat.v4.new_output("stream", text="same: True\n▏what another CPU said\n")]
    notebook.cells = [cell]
    nbformat.write(notebook, pytester.path / "lesson.ipynb")
    options = ("--nbval", "--nbval-current-env", "--mullama", model)
    # In a process of its own: nbval leaves a file open for each kernel that it starts.
    done = pytester.runpytest_subprocess(*options)
    assert "2 passed" in done.stdout.str(), done.stdout.str()
    cell.outputs[0]["text"] = "same: False\n▏what another CPU said\n"
    nbformat.write(notebook, pytester.path / "lesson.ipynb")
    assert "1 failed, 1 passed" in pytester.runpytest_subprocess(*options).stdout.str()
    assert file.exists()


@pytest.mark.slow
def test_a_sanitizing_file_of_the_user_stays(pytester: pytest.Pytester) -> None:
    def chosen(*options: str) -> str | None:
        found: str | None = pytester.parseconfigure(*options).option.nbval_sanitize_with
        return found

    assert chosen("--nbval", "--nbval-sanitize-with=mine.cfg") == "mine.cfg"
    assert chosen("--nbval") == chosen("--nbval-lax") == str(sanitize_file())
    assert chosen() is None


@pytest.mark.slow
def test_fixtures(run: Run, pytester: pytest.Pytester) -> None:
    (pytester.path / "test_mine.py").write_text(
        "from mullama_nb import Chat\n"
        "from mullama_nb.testing import record, regress, replay\n"
        "def test_tiny(tiny_model, tmp_path):\n"
        "    chat = Chat(tiny_model, n_ctx=256, n_threads=1)\n"
        "    chat.ask('hello', max_tokens=4)\n"
        "    record(chat, tmp_path / 'a.mullama.json')\n"
        "    regress(chat, tmp_path / 'a.mullama.json', 'exact').check()\n"
        "def test_chat(chat, smollm2):\n"
        "    assert chat.ask('Hello!', max_tokens=3).tokens\n"
        "    assert chat.model is smollm2 and chat.sampling.temperature == 0\n",
        "utf-8",
    )
    done = run()
    assert "2 passed" in done.stdout.str(), done.stdout.str()


def test_it_loads_nothing_heavy() -> None:
    """Every run of pytest imports the plugin and its package; the root is stood in for."""
    code = (
        "import sys, types\n"
        "root = types.ModuleType('mullama_nb'); root.__path__ = [sys.argv[1]]\n"
        "sys.modules['mullama_nb'] = root\n"
        "import mullama_nb.testing.plugin, pytest\n"
        "heavy = {'llama_cpp', 'numpy', 'gguf', 'IPython', 'rich'} & set(sys.modules)\n"
        "ours = sorted(m for m in sys.modules if m.startswith('mullama_nb.'))\n"
        "print(sorted(heavy), ours)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, PACKAGE], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[] ['mullama_nb.testing', 'mullama_nb.testing.plugin']"
