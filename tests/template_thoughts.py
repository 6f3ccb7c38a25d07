"""Chats beside that of a walk: one that keeps its thoughts, and one that runs what is called."""

from __future__ import annotations

from typing import Any

from template_checks import Said, WrongError, check_shown, context_text, plain, said_by, shape
from template_models import N_CTX
from template_talk import CALL, Talk, user

from mullama_nb import Chat
from mullama_nb.engine.completion import Token
from mullama_nb.errors import ChatTemplateError
from mullama_nb.testing import record, replay

__all__ = ["keep_thoughts", "run_a_tool"]

_BUDGET = 3
_WAIT = 4  # tokens, until a character is complete


def tide_at(place: str) -> str:
    """Return when high water is.

    Parameters
    ----------
    place : str
        A town.
    """
    return f"at noon, {place}"


def _options() -> dict[str, Any]:
    return {"n_ctx": N_CTX, "n_threads": 1, "n_batch": 512, "seed": 7}


def _budget(chat: Chat) -> dict[str, Any]:
    how: dict[str, Any] = {"temperature": 1.0, "echo": False}
    return how | {"reasoning_budget": _BUDGET} if chat.answer_format.has_thoughts else how


def keep_thoughts(talk: Talk) -> None:
    """A few questions, with thoughts that are kept and have a budget."""
    name, model = talk.name, talk.chat.model

    def check(chat: Chat) -> None:
        said: list[Said] = []
        for text in ("Who keeps the oak light?", "And the pine quay?", "And the rowan pier?"):
            held, tokens = chat.context.tokens, list[Token]()
            turn = chat.ask(text, max_tokens=24, on_token=tokens.append, **_budget(chat))
            said += [plain(user(text)), said_by(turn)]
            check_shown(chat, None, said)
            if chat.context.tokens[: len(held)] != held and turn.rewritten is None:
                raise WrongError("an earlier answer was evaluated again, although it is kept")
            n_thought = [token.part for token in tokens].count("reasoning")
            closing = model.tokenize(chat.answer_format.closing, special=True)
            if n_thought > _BUDGET + _WAIT + len(closing):
                raise WrongError(f"a thought of {n_thought} tokens had a budget of {_BUDGET}")
            turn = chat.edit("Someone must.\n</think>\n\nBert.", turn, echo=False)
            said[-1] = said_by(turn)
            check_shown(chat, None, said)
        chat.undo()
        check_shown(chat, None, said[:-2])
        chat.redo()
        check_shown(chat, None, said)
        chat.save(f"{name}-kept", talk.folder / "store", replace=True)
        talk.open(lambda: Chat.open(f"{name}-kept", model, talk.folder / "store"), same_as(chat))
        path = talk.folder / f"{name}-kept.mullama.json"
        record(chat, path)
        if not (report := replay(path, model, "exact")).is_identical:
            raise WrongError(f"a replay differs: {report}")

    def same_as(chat: Chat) -> Any:
        def check(other: Chat) -> None:
            if [*map(shape, other.tree)] != [*map(shape, chat.tree)]:
                raise WrongError("another tree after it was opened")
            if other.messages != chat.messages or other.keep_reasoning is not True:
                raise WrongError(f"other messages after it was opened: {other.messages}")

        return check

    def make() -> Chat:
        return Chat(model, keep_reasoning=True, **_options())

    talk.step("kept thoughts with a budget", lambda: talk.open(make, check))


def run_a_tool(talk: Talk) -> None:
    """A call, written as the template writes calls, is run and its result answered."""
    if not talk.chat.tools:
        return
    model = talk.chat.model
    question = user("When is high water at the hazel ford?")

    def check(chat: Chat) -> None:
        chat.ask(question, max_tokens=2, **_budget(chat))
        try:
            written = _written(chat, question)
        except ChatTemplateError:
            return  # it takes no calls, and the step with a given one has said so
        chat.edit(written, chat.turns[-1], echo=False)
        calls = chat.turns[-1].tool_calls
        if [(call.name, call.arguments) for call in calls] != [("tide_at", {"place": "Whitby"})]:
            return  # this family's calls are not known
        chat.edit(written, chat.turns[-1], run_tools=True, max_tokens=4, **_budget(chat))
        roles = [message["role"] for message in chat.messages]
        if roles[-4:] != ["user", "assistant", "tool", "assistant"]:
            raise WrongError(f"after a call that was run there are {roles}")
        check_shown(chat, None, [*map(plain, chat.messages)])
        if plain(chat.messages[-2]).text != tide_at("Whitby") or "at noon" not in context_text(
            chat
        ):
            raise WrongError(f"the result did not arrive: {chat.messages[-2]}")

    def make() -> Chat:
        return Chat(model, tools=[tide_at], **_options())

    talk.step("a tool that is run", lambda: talk.open(make, check))


def _written(chat: Chat, question: dict[str, Any]) -> str:
    """What an answer that calls the tool says, as the template writes it."""
    call: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": [CALL]}

    def rendered(*messages: dict[str, Any], asks: bool) -> str:
        prompt = chat.model.apply_chat_template(
            messages, add_generation_prompt=asks, tools=chat.tools
        )
        return chat.model.detokenize(prompt.tokens, special=True)

    asked, whole = rendered(question, asks=True), rendered(question, call, asks=False)
    n = next((n for n in range(len(asked)) if asked[n] != whole[n : n + 1]), len(asked))
    while n and whole[n - 1] in "<[":  # two marks begin alike
        n -= 1
    return whole[n:]
