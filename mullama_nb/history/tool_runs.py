"""Running the tools that answers call, and answering their results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..checks import is_integer
from ..engine.answer_format import ToolCall
from ..engine.warn import warn
from ..errors import HistoryError, ParameterError, ToolWarning, shown
from .tools import ToolError, Tools

if TYPE_CHECKING:
    from .chat import Chat
    from .turn import Turn

__all__ = ["ToolRuns", "checked_limit"]

_MOST = 10


class ToolRuns:
    """Runs the calls of an answer, says the results, and so on with the next answer.

    Parameters
    ----------
    chat : Chat
    tools : Tools
        Only its functions are run.
    limit : bool or int
        How many calls may be run; True: 10.
    options : mapping
        Of the answers.

    Raises
    ------
    ParameterError
        When the limit is none, or there is no function to run.
    """

    def __init__(
        self, chat: Chat, tools: Tools, limit: bool | int, options: Mapping[str, Any]
    ) -> None:
        self._left = checked_limit(limit)
        if self._left and not tools.functions:
            raise ParameterError(
                f"run_tools={limit!r} needs functions, and this chat has none: hand them over with "
                "Chat(tools=[...]) or Chat.open(..., tools=[...])"
            )
        self._chat = chat
        self._tools = tools
        self._options = {key: value for key, value in options.items() if key != "run_tools"}

    def go_on(self, turn: Turn) -> Turn:
        """Return the last answer: the given one, unless it calls what can be run."""
        while self._left and (calls := self._calls(turn)):
            if len(calls) > self._left:
                warn(
                    f"the answer calls {len(calls)} more tools and run_tools allows "
                    f"{self._left}: none of them was run",
                    ToolWarning,
                )
                break
            self._left -= len(calls)
            results = self._run(turn, calls)
            with self._chat.tree.turn():
                self._check_place(turn)
                turn = self._chat.ask(results, **self._options)
        return turn

    def _calls(self, turn: Turn) -> tuple[ToolCall, ...]:
        """The calls of a complete answer, if all can be run or answered."""
        calls = turn.tool_calls if turn.is_complete else ()
        given = {tool.get("function", tool).get("name") for tool in self._tools.schemas or ()}
        by_hand = given - {*self._tools.functions}  # schemas alone: their results are given
        if any(call.error is not None or call.name in by_hand for call in calls):
            return ()
        return calls

    def _run(self, turn: Turn, calls: tuple[ToolCall, ...]) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = []
        try:
            results.extend(map(self._result, calls))
        except BaseException:  # an interrupt: what was done stays said
            if results:
                with self._chat.tree.turn():
                    self._check_place(turn)
                    self._chat._conversation.append(results)
            raise
        return results

    def _result(self, call: ToolCall) -> dict[str, Any]:
        try:
            content = self._tools.run(call)
        except ToolError as error:
            content = f"error: {error}"
            warn(f"the model called {call.name!r} and was told: {error}", ToolWarning)
        except Exception as error:
            content = f"error: {type(error).__name__}: {error}"
            warn(
                f"the tool {call.name!r} raised {type(error).__name__}: {shown(str(error))}. The "
                "model was told",
                ToolWarning,
            )
        return {"role": "tool", "tool_call_id": call.id, "name": call.name, "content": content}

    def _check_place(self, turn: Turn) -> None:
        if self._chat.tree.head is not turn.checkpoint:
            raise HistoryError("the chat was moved while a tool ran, so its result was not said")


def checked_limit(limit: object) -> int:
    """Return how many calls may be run.

    Raises
    ------
    ParameterError
    """
    if isinstance(limit, bool):
        return _MOST * limit
    if not is_integer(limit) or int(limit) < 0:
        raise ParameterError(f"run_tools={limit!r} must be True, False or a number of calls")
    return int(limit)
