"""``mullama-nb run``: each form that the documentation shows, and what scripts rely on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_process import Run
from tiny_models import make_model

from mullama_nb import Chat, Context, ContextParams, Model, inspect_session

EXPERT = "You are an expert Python developer."


@pytest.mark.slow
def test_the_answer_alone_goes_to_stdout(run_alone: Run) -> None:
    done = run_alone("run", "smollm2", "Why do cats purr?", "--max-tokens", "8", "--threads", "1")
    said = Chat("smollm2", n_threads=1, n_threads_batch=1).ask("Why do cats purr?", max_tokens=8)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{said.text}\n", "")


@pytest.mark.slow
def test_a_prompt_comes_from_stdin(run: Run) -> None:
    given = run("run", "smollm2", "Hi.", "--max-tokens", "4")
    piped = run("run", "smollm2", "--max-tokens", "4", stdin="Hi.\n")
    dashed = run("run", "smollm2", "-", "--max-tokens", "4", stdin="Hi.\n")
    assert given.stdout == piped.stdout == dashed.stdout != "\n"


@pytest.mark.slow
def test_stdin_in_another_encoding_is_refused_in_words(run_alone: Run) -> None:
    for options in ([], ["--interactive"]):
        done = run_alone(
            "run", "smollm2", "--max-tokens", "4", *options, stdin="é\n", encoding="latin-1"
        )
        assert "what is on stdin is not utf-8 text" in done.stderr
        assert "iconv" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_chat_template_has_options(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text("{{ messages[0].content }}{{ word }}{{ n + 1 }}", encoding="utf-8")
    given = ["--chat-template", "own.jinja", "--template-option", "word=is", "--json"]
    done = run("run", "smollm2", "Hi", *given, "--template-option", "n=1", "--max-tokens", "1")
    assert json.loads(done.stdout)["evaluated"] == 3
    wrong = run("run", "smollm2", "Hi", "--template-option", "word")
    assert (wrong.returncode, "'word' is not of the form NAME=VALUE" in wrong.stderr) == (2, True)
    missing = run("run", "smollm2", "Hi", "--chat-template", "none.jinja")
    assert "there is no file of that name" in missing.stderr


def test_a_base_model_goes_on_with_plain_text(run: Run, tmp_path: Path) -> None:
    path = make_model(tmp_path / "base.gguf", "llama")
    options = ("--n-ctx", "256", "--threads", "1", "--max-tokens", "6", "--temperature", "0")
    done = run("run", "./base.gguf", "Once upon a", *options)
    context = Context(Model.load(path), ContextParams(n_ctx=256, n_threads=1, n_threads_batch=1))
    context.evaluate("Once upon a")
    assert done.stdout == f"{context.generate(None, 6, temperature=0)}\n"
    assert done.stderr == (
        "base has no chat template: it goes on with what is said, as plain text\n"
    )
    said = run("run", "./base.gguf", "--interactive", *options, stdin="Once\nAnd\n/tree\n/undo\n")
    assert said.returncode == 0, said.stderr
    assert "You Once" in said.stdout
    assert "error" not in said.stderr


def test_no_prompt_is_a_usage_error(run: Run) -> None:
    done = run("run", "smollm2")
    assert done.returncode == 2
    assert "no prompt" in done.stderr


@pytest.mark.slow
def test_json_is_one_object(run: Run) -> None:
    done = run("run", "smollm2", "Hi.", "--max-tokens", "4", "--seed", "7", "--json")
    answer = json.loads(done.stdout)
    assert answer["tokens"] == 4
    assert answer["finish_reason"] == "length"
    assert answer["sampling"] == {"seed": 7}


@pytest.mark.slow
def test_a_system_prompt_is_computed_once(run: Run, tmp_path: Path) -> None:
    saved = run(
        *("run", "smollm2", "--save-session", "python-expert.session"),
        *("--system", EXPERT, "--max-tokens", "0"),
    )
    assert saved.returncode == 0, saved.stderr
    n_system = inspect_session(tmp_path / "python-expert.session").n_tokens
    question = ("run", "smollm2", "Write a CSV parser.", "--max-tokens", "12", "--json")
    resumed = json.loads(run(*question, "--load-session", "python-expert.session").stdout)
    afresh = json.loads(run(*question, "--system", EXPERT).stdout)
    assert resumed["reused"] == n_system
    assert resumed["text"] == afresh["text"]


@pytest.mark.slow
def test_a_conversation_goes_on_from_its_file(run: Run) -> None:
    options = ("--max-tokens", "6", "--temperature", "0")
    first = run("run", "smollm2", "Name a colour.", "--save-session", "s.bin", *options)
    assert first.returncode == 0, first.stderr
    second = run("run", "smollm2", "Another?", "--load-session", "s.bin", "--json", *options)
    chat = Chat("smollm2", temperature=0)
    chat.ask("Name a colour.", max_tokens=6)
    assert json.loads(second.stdout)["text"] == chat.ask("Another?", max_tokens=6).text
    assert json.loads(second.stdout)["reused"] > 0


@pytest.mark.slow
def test_a_session_of_plain_text_is_continued_as_text(run: Run, tmp_path: Path) -> None:
    chat = Chat("smollm2")
    chat.context.evaluate("The capital of France is")
    chat.context.save_session(tmp_path / "plain.bin")
    done = run(
        *("run", "smollm2", " Paris, and that of Italy is", "--load-session", "plain.bin"),
        *("--max-tokens", "2", "--temperature", "0"),
    )
    assert done.stdout.strip()
    assert "user" not in done.stdout


@pytest.mark.slow
def test_cache_types_reach_the_context(run: Run, tmp_path: Path) -> None:
    done = run(
        *("run", "smollm2", "Hi.", "--kv-cache-type", "q8_0", "--n-ctx", "256"),
        *("--max-tokens", "2", "--save-session", "compact-session.bin"),
    )
    assert done.returncode == 0
    info = inspect_session(tmp_path / "compact-session.bin")
    assert (info.kv_cache_type, info.n_ctx) == ("q8_0", 256)


@pytest.mark.slow
def test_errors_say_what_to_do(run: Run, tmp_path: Path) -> None:
    missing = run("run", "nosuch", "Hi.")
    assert missing.returncode == 1
    assert "smollm2" in missing.stderr
    (tmp_path / "bad.session").write_bytes(b"no session at all")
    bad = run("run", "smollm2", "Hi.", "--load-session", "bad.session")
    assert bad.returncode == 1
    assert "bad.session" in bad.stderr
    assert "Traceback" not in missing.stderr + bad.stderr
    hot = run("run", "smollm2", "Hi.", "--temperature", "-1")
    assert hot.returncode == 1
    assert "temperature" in hot.stderr
    assert run("run", "smollm2", "Hi.", "--kv-cache-type", "q9").returncode == 2


@pytest.mark.slow
def test_an_interrupt_ends_the_answer_and_saves_it(tmp_path: Path, home: dict[str, str]) -> None:
    command = (
        *(sys.executable, "-m", "mullama_nb", "run", "smollm2", "Tell a very long story."),
        *("--max-tokens", "3000", "--save-session", "story.session"),
    )
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, env=home
    ) as process:
        assert process.stdout is not None
        begun = os.read(process.stdout.fileno(), 1)
        process.send_signal(signal.SIGINT)
        rest, said = process.communicate()
    assert process.returncode == 130, said
    assert (begun + rest).strip()
    assert inspect_session(tmp_path / "story.session").n_tokens > 20


@pytest.mark.slow
def test_kv_prints_and_draws_the_sizes(run: Run, tmp_path: Path) -> None:
    done = run("kv", "smollm2", "--json", "--plot", "sizes.svg")
    assert (tmp_path / "sizes.svg").read_text("utf-8").lstrip().startswith("<?xml")
    sizes = json.loads(done.stdout)["bytes"]
    assert {name: row["token"] for name, row in sizes.items()} == {
        "f16": 23_040,
        "q8_0": 12_240,
        "q4_0": 6_480,
    }
    assert "23,040 B" in run("kv", "smollm2").stdout


def test_doctor_names_what_there_is(run: Run) -> None:
    found = json.loads(run("doctor", "--json").stdout)
    assert "smollm2" in found["models"]
    assert found["packages"]["llama-cpp-python"] != "missing"
    assert "llama.cpp" in run("doctor").stdout


@pytest.mark.slow
def test_doctor_says_how_much_of_the_machine_is_ours(run_alone: Run, home: dict[str, str]) -> None:
    for name in [name for name in home if name.startswith(("OMP_", "GOMP_"))]:
        del home[name]
    home |= {"CPU_LIMIT": "1.5", "MEM_LIMIT": "2G"}
    found = json.loads(run_alone("doctor", "--json").stdout)
    assert found["cpus"]["usable"] == 1
    assert found["threads"] == {"token": 1, "prompt": 1}
    assert 0 < found["memory"]["free"] < found["memory"]["total"] == 2 << 30
    assert found["waiting"] == {"now": "alone", "because": "one thread waits for nobody"}
    said = run_alone("doctor").stdout
    assert re.search(
        r"^cpus        1 of \d+ with the time of 1\.5, by CPU_LIMIT$", said, re.MULTILINE
    )
    memory = r"^memory      [\d.]+ [GM]B free of 2\.15 GB, by MEM_LIMIT$"
    assert re.search(memory, said, re.MULTILINE)
    assert "ignored" not in said
    home |= {"CPU_LIMIT": "many", "OMP_WAIT_POLICY": "passive"}
    said = run_alone("doctor").stdout
    assert "ignored     CPU_LIMIT='many' is not a number of CPUs and was ignored\n" in said
    if sys.platform == "linux" and found["cpus"]["affinity"] > 1:
        assert "waiting     as set: OMP_WAIT_POLICY=passive is left alone\n" in said


def test_lab_copies_the_lessons_once(run: Run, tmp_path: Path) -> None:
    assert run("lab", "mine", "--no-open").returncode == 0
    lesson = tmp_path / "mine" / "01-quickstart.ipynb"
    lesson.write_text("my own", encoding="utf-8")
    assert run("lab", "mine", "--no-open").returncode == 0
    assert lesson.read_text("utf-8") == "my own"


def test_lab_opens_the_first_lesson_on_a_port(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    def start(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        started.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("mullama_nb.cli.lab.subprocess.run", start)
    assert run("lab", "mine", "--port", "8899").returncode == 0
    ((*_, app, lesson, port),) = started
    assert (app, Path(lesson), port) == ("lab", Path("mine/01-quickstart.ipynb"), "--port=8899")
    assert run("lab", "mine", "--port", "0").returncode == 2
    assert len(started) == 1
