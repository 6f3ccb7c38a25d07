"""One walk over a chat with any chat template, checked after every step.

Five turns and more, with thoughts, tools and edits; undo, redo, regenerate, fork, explore; save,
open, from_messages, export and import, record and replay; prefills, parts and unusual roles; kept
thoughts with a budget, and functions that are run.
``python -m benchmarks templates`` runs it over a folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from template_checks import WrongError, check_in_order, check_shown, plain, shape
from template_models import N_CTX, make_template_model
from template_talk import CALL, SYSTEM, TOOLS, Outcome, Talk, user
from template_thoughts import keep_thoughts, run_a_tool

from mullama_nb import Chat, Model
from mullama_nb.testing import record, replay

__all__ = ["walk_template"]

_QUESTION = "Who keeps the alder light?"


def walk_template(name: str, source: str, folder: Path) -> Outcome:
    """Walk a chat with a template; with what is refused left out, and until something is wrong.

    Parameters
    ----------
    name : str
    source : str
    folder : Path
        For the model, sessions and files.
    """
    talk = Talk(name, source, folder)
    try:
        if _begin(talk, make_template_model(folder / f"{name}.gguf", source)):
            for part in (
                *(_talk, _wander, _call_a_tool, _edit_everything, _keep, _say_the_unusual),
                *(keep_thoughts, run_a_tool),
            ):
                if not talk.is_wrong:
                    part(talk)
        return talk.outcome()
    finally:
        talk.close()


def _begin(talk: Talk, path: Path) -> bool:
    """Ask the first question, with as much of system message and tools as is taken."""
    loaded: list[Model] = []
    for system, tools in ((SYSTEM, TOOLS), (SYSTEM, None), (None, TOOLS), (None, None)):
        what = [word for word, given in (("system", system), ("tools", tools)) if given]

        def begin(system: str | None = system, tools: Any = tools) -> None:
            if not loaded:
                loaded.append(Model.load(path))
            talk.begin(loaded[0], system, tools, _QUESTION)

        if talk.step(f"first question with {' and '.join(what) or 'nothing else'}", begin):
            return True
        if talk.is_wrong:
            return False
    return False


@contextmanager
def _back_afterwards(talk: Talk) -> Iterator[None]:
    home = talk.place()
    yield
    if not talk.is_wrong:
        talk.step("back", lambda: talk.go(home))


def _talk(talk: Talk) -> None:
    """Three questions, with answers that are given."""

    def question(text: str) -> None:
        talk.ask(text)
        talk.arrived(text)

    talk.step("edit of the answer", lambda: talk.answer("The alder light is kept by Ada."))
    talk.step("second question", lambda: question("And the birch quay?"))
    talk.step(
        "answer with a thought",
        lambda: talk.answer("Bert sweeps it.", thought="Someone sweeps the birch quay."),
    )
    talk.step("third question", lambda: question("Who counts the cedar boats?"))
    talk.step(
        "another answer with a thought",
        lambda: talk.answer("Cleo counts them.", thought="Boats are counted at dawn."),
    )


def _wander(talk: Talk) -> None:
    """Undo, redo, regenerate, edit, explore, fork, and back."""
    chat, said = talk.chat, list(talk.said)

    def undo() -> None:
        chat.undo()
        talk.said = said[:-2]

    def redo() -> None:
        chat.redo()
        talk.said = list(said)

    def regenerate() -> None:
        turn = chat.regenerate(max_tokens=4, temperature=1.0, echo=False)
        talk.said[-1] = talk.note(turn)

    def edit() -> None:
        old, new = "And the birch quay?", user("And the elm slip?")
        turn = next(turn for turn in chat.turns if turn.text == old)
        turn = chat.edit(new["content"], turn, max_tokens=4, echo=False)
        at = [each.text for each in talk.said].index(old)
        talk.said = [*talk.said[:at], talk.given(new), talk.note(turn)]
        talk.arrived(new["content"])

    def explore(*, keeps: bool) -> None:
        question = user("Which fir is the tallest?")
        given = talk.given(question)
        answers = chat.explore(question, n=2, max_tokens=4, temperature=1.0)
        notes = [talk.note(answer) for answer in answers]
        if keeps:
            answers[1].keep()
        talk.said += [given, notes[1]] if keeps else [given]

    def answer() -> None:
        talk.said.append(talk.note(chat.regenerate(max_tokens=4, temperature=1.0, echo=False)))

    def instruct() -> None:
        told = {"role": "system", "content": "Speak of the heath."}
        system = talk.given(told)
        with talk.listening() as warned:
            turn = chat.edit(told["content"], "ROOT", max_tokens=4, temperature=1.0, echo=False)
        first = next(each for each in said if each.role != "system")
        talk.said = [system, first, talk.note(turn)]
        talk.arrived(first.text, *([] if "system" in warned() else [told["content"]]))

    def fork() -> None:
        turn = chat.turns[-1]
        if len(turn.tokens) > 1:
            turn = chat.fork(turn, token=1, max_tokens=3, temperature=1.0, echo=False)
            talk.said[-1] = talk.note(turn)

    talk.step("undo", undo)
    talk.step("redo", redo)
    talk.step("fourth question", lambda: talk.ask("What of the dogwood pier?"))
    talk.step("regenerate", regenerate)
    with _back_afterwards(talk):
        talk.step("edit of an earlier question", edit)
    with _back_afterwards(talk):
        talk.step("explore", lambda: explore(keeps=True))
    with _back_afterwards(talk):
        if talk.step("explore without keeping any", lambda: explore(keeps=False)):
            talk.step("an answer to it", answer)
            talk.step("another answer to it", regenerate)
    with _back_afterwards(talk):
        if talk.step("explore without keeping any", lambda: explore(keeps=False)):
            talk.step("a question there", lambda: talk.ask("And the gorse hill?"))
    with _back_afterwards(talk):
        talk.step("another system message", instruct)
    talk.step("fork", fork)


def _call_a_tool(talk: Talk) -> None:
    """A question, a call, its result, an answer."""
    chat = talk.chat
    question = user("When is high water at the hazel ford?")
    call: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    result = {
        "role": "tool",
        "tool_call_id": CALL["id"],
        "name": "tide_at",
        "content": '{"high": "noon at the ivy stone"}',
    }

    def called() -> None:
        given = [talk.given(question), talk.given(call)]
        chat.replay([question, call])
        talk.said += given
        talk.arrived("tide_at", "Whitby")

    def answered() -> None:
        talk.ask(result)
        talk.arrived("noon at the ivy stone")

    def is_the_same() -> None:
        prompts = []
        for arguments in ({"place": "Whitby"}, '{"place": "Whitby"}'):
            function = {"name": "tide_at", "arguments": arguments}
            with_call = {**call, "tool_calls": [{**CALL, "function": function}]}
            prompts.append(chat.model.apply_chat_template([question, with_call, result]).tokens)
        if prompts[0] != prompts[1]:
            raise WrongError("arguments as JSON give another prompt than as a mapping")

    with _back_afterwards(talk):
        if talk.step("call of a tool", called) and talk.step("result of a tool", answered):
            talk.step("a question after it", lambda: talk.ask("And at the juniper weir?"))
    if "%f" not in talk.source:  # the time of day is another each time
        talk.step("arguments as JSON", is_the_same)


def _edit_everything(talk: Talk) -> None:
    """Each message is edited in its turn, and nothing but it changes."""
    chat, home = talk.chat, talk.place()
    n_hidden = len(home.said) - len(chat.turns)  # a system message without a turn
    for at, said in enumerate(home.said):
        if said.role == "system":
            continue
        text = f"The kelp of row {at}."

        def edit(at: int = at, role: str = said.role, text: str = text) -> None:
            turn = chat.edit(text, chat.turns[at - n_hidden], max_tokens=2, echo=False)
            new = talk.note(turn)
            asked = [] if role == "assistant" else [talk.given({"role": role, "content": text})]
            if not asked and new.text.strip() != text:
                raise WrongError(f"{text!r}, given as an answer, became {new}")
            talk.said = [*home.said[:at], *asked, new]
            talk.arrived(text)

        with _back_afterwards(talk):
            talk.step(f"edit of message {at}", edit)


def _keep(talk: Talk) -> None:
    """Save, open, from_messages, export, import, record, replay."""
    chat, model, name = talk.chat, talk.chat.model, talk.name
    options: dict[str, Any] = {"n_ctx": N_CTX, "n_threads": 1}
    if chat.tools:
        options["tools"] = chat.tools

    def check_same(other: Chat) -> None:
        there, here = [*map(plain, other.messages)], [*map(plain, chat.messages)]
        if there != here:
            raise WrongError(f"other messages: {there}, not {here}")
        check_shown(other, None, here)

    def check_equal(other: Chat) -> None:
        check_same(other)
        if other.context.tokens != chat.context.tokens:
            raise WrongError("other tokens")
        if [*map(shape, other.tree)] != [*map(shape, chat.tree)]:
            raise WrongError("another tree")

    def save() -> None:
        chat.save(name, talk.folder / "store")
        talk.open(lambda: Chat.open(name, model, talk.folder / "store"), check_equal)

    def make_anew() -> None:
        talk.open(lambda: Chat.from_messages(model, chat.messages, **options), check_same)

    def export() -> None:
        chat.export(talk.folder / f"{name}.md")
        document = (talk.folder / f"{name}.md").read_text("utf-8")
        check_in_order("the Markdown", document, talk.said)
        chat.export(talk.folder / f"{name}.json")

    def record_and_replay() -> None:
        path = talk.folder / f"{name}.mullama.json"
        record(chat, path)
        if not (report := replay(path, model, "exact")).is_identical:
            raise WrongError(f"a replay differs: {report}")

    talk.step("save and open", save)
    talk.step("from_messages", make_anew)
    talk.step("export", export)
    talk.step("record and replay", record_and_replay)


def _say_the_unusual(talk: Talk) -> None:
    """A prefill, parts, other roles, a thought in a field."""
    chat = talk.chat

    def prefill() -> None:
        question, begun = user("Who said so?"), "According to Lime"
        said = talk.given(question)
        messages = [question, {"role": "assistant", "content": begun}]
        new = talk.note(chat.ask(messages, max_tokens=3, echo=False))
        talk.said += [said, new]
        if begun not in new.text + new.thought:
            raise WrongError(f"an answer that begins with {begun!r} became {new}")
        talk.arrived("Who said so?", begun)

    def say_parts() -> None:
        texts = ["Where is the maple mole?", "And the myrtle?"]
        talk.ask({"role": "user", "content": [{"type": "text", "text": text} for text in texts]})
        talk.arrived(*texts)
        whole = chat.model.detokenize(chat.context.tokens, special=True)
        if "'type': 'text'" in whole:
            raise WrongError("the parts of a content are in the prompt as Python writes them")

    def say_as(role: str) -> None:
        text = f"Mind the nettle as {role}."
        talk.ask({"role": role, "content": text})
        talk.arrived(text)

    def say_as_developer() -> None:
        talk.ask({"role": "developer", "content": "Say it in oak."}, user("Which way?"))
        talk.arrived("Say it in oak.", "Which way?")

    def say_with_thought() -> None:
        question, thought = user("Which way now?"), "Left of the quince, I think."
        answer = {"role": "assistant", "content": "Past the pine.", "reasoning_content": thought}
        given = [talk.given(question), talk.given(answer)]
        with talk.listening() as told:
            chat.replay([question, answer])
        talk.said += given
        talk.arrived("Past the pine.", *([] if "thought" in told() else [thought]))

    for name, job in (
        ("prefill", prefill),
        ("content in parts", say_parts),
        ("a later system", lambda: say_as("system")),
        ("role human", lambda: say_as("human")),
        ("role developer", say_as_developer),
        ("a given thought", say_with_thought),
    ):
        with _back_afterwards(talk):
            talk.step(name, job)
