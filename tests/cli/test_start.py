"""What a command imports before it has anything to do: only what its help and completion need."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mullama_nb.cli import main

# Each takes from a tenth of a second to a whole one.
NATIVE = {"gguf", "llama_cpp", "numpy"}
SLOW = {
    *{"IPython", "anywidget", "huggingface_hub", "ipywidgets", "jinja2", "matplotlib"},
    *{"prompt_toolkit", "rich", "sqlite3", "yaml"},
}

# Runs each command in a fork of an interpreter that has imported nothing but the command line.
SCRIPT = """
import json, os, sys
from mullama_nb.cli import main

for line in json.load(sys.stdin):
    sys.stdout.flush()
    if os.fork():
        os.wait()
        continue
    os.environ.update(line["environment"])
    kept, sys.stdout = sys.stdout, open(os.devnull, "w")
    try:
        main(line["arguments"], prog_name="mullama-nb")
    except SystemExit as end:
        tops = sorted({name.partition(".")[0] for name in sys.modules})
        kept.write(json.dumps([end.code, tops]) + "\\n")
        kept.flush()
    os._exit(0)
"""


def imported(
    folder: Path, *lines: tuple[str, ...], completing: bool = False
) -> list[tuple[tuple[str, ...], set[str]]]:
    """The packages that were imported at the end of each command, which must have succeeded."""
    asked = []
    for line in lines:
        environment = {"HOME": str(folder)}
        if completing:
            environment |= {
                "_MULLAMA_NB_COMPLETE": "bash_complete",
                "COMP_WORDS": " ".join(["mullama-nb", *line]),
                "COMP_CWORD": str(len(line)),
            }
        asked.append({"arguments": [] if completing else line, "environment": environment})
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps(asked),
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [code for code, _ in found] == [0] * len(lines), done.stderr
    return [(line, set(tops)) for line, (_, tops) in zip(lines, found, strict=True)]


def commands(group: click.Group, *words: str) -> Iterator[tuple[str, ...]]:
    """All commands, and groups of commands, as one types them."""
    yield words
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from commands(command, *words, name)
        else:
            yield (*words, name)


@pytest.mark.slow
def test_help_and_versions_need_nothing(tmp_path: Path) -> None:
    lines = [("--version",), *((*words, "--help") for words in commands(main))]
    assert ("suite", "show", "--help") in lines
    for line, tops in imported(tmp_path, *lines):
        assert not tops & (NATIVE | SLOW), line


@pytest.mark.slow
def test_completion_needs_nothing(tmp_path: Path) -> None:
    lines = [("",), ("session", ""), ("run", "smollm2", "--t"), ("suite", "")]
    for line, tops in imported(tmp_path, *lines, completing=True):
        assert not tops & (NATIVE | SLOW), line
    # What models are in the cache of the hub, its package tells.
    for line, tops in imported(tmp_path, ("run", "smo"), ("kv", "smo"), completing=True):
        assert not tops & ({*NATIVE, *SLOW} - {"huggingface_hub", "yaml"}), line


@pytest.mark.slow
def test_what_stores_and_files_hold_is_shown_without_llama_cpp(tmp_path: Path) -> None:
    (tmp_path / "words.suite.yaml").write_text(
        "models: [none]\ncases: [{said: hello, checks: [{contains: a}]}]\n", "utf-8"
    )
    lines = [("session", "list"), ("session", "verify"), ("session", "gc")]
    for line, tops in imported(tmp_path, *lines):
        assert not tops & ({*NATIVE, *SLOW} - {"numpy", "rich", "sqlite3"}), line


@pytest.mark.slow
def test_results_are_shown_without_llama_cpp(tmp_path: Path) -> None:
    from mullama_nb.testing import SuiteCell, SuiteResult
    from mullama_nb.testing.suites import journal

    cell = SuiteCell("a[m,default]", "a", "m", "default", passed=True)
    journal.write(SuiteResult("words", ("a",), ("m",), ("default",), (cell,)), tmp_path / "r.jsonl")
    lines = [("suite", "show", "r.jsonl"), ("suite", "compare", "r.jsonl", "r.jsonl")]
    for line, tops in imported(tmp_path, *lines):
        assert not tops & ({*NATIVE, *SLOW} - {"numpy", "rich"}), line


@pytest.mark.parametrize("width", [80, 100])
def test_help_ends_its_sentences(width: int) -> None:
    """Click cuts what does not fit into a list of commands."""
    for words in commands(main):
        command: click.Command = main
        context = click.Context(main, terminal_width=width, max_content_width=width)
        for word in words:
            assert isinstance(command, click.Group)
            found = command.get_command(context, word)
            assert found is not None
            command, context = found, click.Context(found, context, word)
        text = command.get_help(context)
        assert not re.findall(r".*[^A-Z\]]\.\.\.$", text, re.MULTILINE), words
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert (parameter.help or "").rstrip(".") != parameter.help, (words, parameter)
