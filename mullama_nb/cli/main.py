"""The commands, each in its module."""

from __future__ import annotations

import click

from .doctor import doctor
from .kv import kv
from .lab import lab
from .record import record
from .replay import replay
from .run import run
from .session import session
from .suite import suite

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mullama-nb", prog_name="mullama-nb")
def main() -> None:
    """Git for a language model's memory: run models, keep sessions, branch and go back.

    Shell completion: eval "$(_MULLAMA_NB_COMPLETE=bash_source mullama-nb)", and the same with zsh
    or fish.
    """


for _command in (doctor, kv, lab, record, replay, run, session, suite):
    main.add_command(_command)
