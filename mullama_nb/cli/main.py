"""The commands, each in its module.

Those modules import what options, help and completion need, and a command the rest when it runs:
llama.cpp, numpy and a terminal's line editor take a second, which ``--help`` need not wait for.
"""

from __future__ import annotations

import click

from .lazy import LazyGroup

__all__ = ["main"]

_COMMANDS = ("doctor", "kv", "lab", "record", "replay", "run", "session", "suite")


@click.group(
    cls=LazyGroup,
    modules=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="mullama-nb", prog_name="mullama-nb")
def main() -> None:
    """Git for a language model's memory: run models, keep sessions, branch and go back.

    Shell completion: eval "$(_MULLAMA_NB_COMPLETE=bash_source mullama-nb)", and the same with zsh
    or fish.
    """
