"""Options of the samplers on the command line."""

from __future__ import annotations

import dataclasses
import json

import click
import pytest
from cli_process import Run

from mullama_nb import SamplingParams
from mullama_nb.cli.main import main

# Mappings and whole grammars are for Python.
NOT_THERE = {"logit_bias", "grammar", "json_schema"}


def test_each_parameter_has_an_option() -> None:
    fields = {field.name for field in dataclasses.fields(SamplingParams)}
    for name in ("run", "record"):
        command = main.get_command(click.Context(main), name)
        assert isinstance(command, click.Command)
        assert fields - {option.name for option in command.params} == NOT_THERE


@pytest.mark.slow
def test_options_reach_the_answer(run: Run) -> None:
    given = ("--mirostat", "2", "--mirostat-tau", "3", "--dry-multiplier", "0.5")
    given += ("--dry-sequence-breaker", "a", "--dry-sequence-breaker", "b")
    given += ("--samplers", "temperature, dry")
    done = run("run", "smollm2", "Hi.", "--max-tokens", "3", "--json", *given)
    assert json.loads(done.stdout)["sampling"] == {
        "mirostat": 2,
        "mirostat_tau": 3.0,
        "dry_multiplier": 0.5,
        "dry_sequence_breakers": ["a", "b"],
        "samplers": ["temperature", "dry"],
    }
    wrong = run("run", "smollm2", "Hi.", "--samplers", "temprature")
    assert wrong.returncode == 1
    assert "did you mean 'temperature'?" in wrong.stderr
