"""What the package advises reaches a terminal in words that can be typed there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import mullama_nb
from mullama_nb.cli.main import main
from mullama_nb.cli.wording import Voice, reworded

PACKAGE = Path(mullama_nb.__file__).parent
# What a command of the terminal may run.
FOLDERS = ("cli", "engine", "history", "sessions", "state")
# A call, a keyword, a name of a class, an attribute: what only Python understands.
PYTHON = re.compile(r"\b[a-z_]\w*\(|\b\w+\.\w+\(|\b[a-z]\w*=(?!=)|\b(?:chat|steps|tree)\.\w+|=True")

# They can only be caused from Python: by what no option, file or line can say.
OF_PYTHON = {
    "engine/adapters/values.py": (
        "a control vector needs",
        "adapters are a list",
        "layers=",
        "scale",
    ),
    "engine/branches.py": ("each has",),
    "engine/completion.py": ("stop=", "stop_tokens="),
    "engine/context.py": ("Context takes", "the context belongs to"),
    "engine/inside/anatomy.py": ("cannot look into",),
    "engine/kv.py": ("n_tokens=",),
    "engine/model.py": ("n_gpu_layers=",),
    "engine/params.py": ("n_ubatch=", "rope_scaling=", "kv_cache_type="),
    "engine/prompt.py": ("this text begins with all",),
    "engine/sampling/adaptive.py": ("sampler_state=",),
    "engine/stored.py": (),
    "history/asking.py": ("chat_template_kwargs changes",),
    "history/chat.py": ("7=",),
    "history/exploring.py": ("vary=",),
    "history/lock.py": ("a question is asked step by step",),
    "history/message.py": ("token=",),
    "history/opening.py": ("on_mismatch=", "the chat"),
    "history/stepping.py": ("this thread holds the tree",),
    "history/surprise.py": ("start=",),
    "history/tool_runs.py": ("run_tools=",),
    "history/tree.py": ("pruning",),
    "history/turn.py": ("pruning the others",),
    "sessions/manager.py": ("on_other_prompt=", "on_mismatch="),
    "sessions/states.py": ("the session",),
    "state/store.py": ("max_bytes=",),
}


def text_of(node: ast.expr) -> str | None:
    """The text of a literal, with 7 in the place of every value."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "7" for part in node.values
        )
    return None


def messages() -> Iterator[tuple[str, str]]:
    """Each text that is given to an error or a warning, with its module."""
    for folder in FOLDERS:
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            module = path.relative_to(PACKAGE).as_posix()
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and re.search(
                    r"(?:Error|Warning|[Ww]arn|refuse|damaged|mismatch)$", ast.unparse(node.func)
                ):
                    texts = [
                        text_of(part)
                        for given in node.args
                        for part in ast.walk(given)
                        if isinstance(part, ast.expr)
                    ]
                    long = max((text for text in texts if text), key=len, default="")
                    if PYTHON.search(long):
                        yield module, long


@pytest.fixture(params=["command", "shell"])
def voice(request: pytest.FixtureRequest) -> Voice:
    voice: Voice = request.param
    return voice


def with_options() -> click.Context:
    """The context of a command that has the options of all."""
    run, record, session = (
        main.get_command(click.Context(main), n) for n in ("run", "record", "session")
    )
    assert run is not None
    assert record is not None
    assert isinstance(session, click.Group)
    params = [*run.params, *record.params]
    for command in session.commands.values():
        params += command.params
    return click.Context(click.Command("all", params=params))


@pytest.mark.slow
def test_messages_are_found() -> None:
    found = list(messages())
    assert len(found) > 40
    assert any("trim()" in text for _, text in found)


@pytest.mark.slow
def test_no_advice_is_left_that_only_python_understands(voice: Voice) -> None:
    left = []
    with with_options():
        for module, text in messages():
            if not text.startswith(OF_PYTHON.get(module, ())):
                said = reworded(text, voice)
                if PYTHON.search(said):
                    left.append(f"{module}: {said}")
    assert not left, "\n".join(left)


@pytest.mark.slow
def test_what_is_left_out_is_there() -> None:
    """An exception whose message is gone would let another one through."""
    found = list(messages())
    for module, beginnings in OF_PYTHON.items():
        for beginning in beginnings:
            assert any(m == module and t.startswith(beginning) for m, t in found), (
                module,
                beginning,
            )
