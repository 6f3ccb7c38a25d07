"""What a check judges: a chat, the question in it, and the answer if one was generated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ....history.chat import Chat
    from ....history.tree import Checkpoint
    from ....history.turn import Turn
    from ...recording import Recording

__all__ = ["Subject"]


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A case as it stands with one model and one setting.

    A check may evaluate beside the path, or visit a checkpoint; it leaves the head where it was.

    Attributes
    ----------
    chat : Chat
        Its head is the answer, or the question where none was generated.
    question : Checkpoint
        Behind which the model answers.
    answer : Turn or None
        None where no check needs one.
    text : str
        Of the answer, without thoughts and calls; empty without one.
    source : Path or None
        The recording that the case is, if it is one.
    recording : Recording or None
        What that file held when the suite was planned.
    """

    chat: Chat
    question: Checkpoint
    answer: Turn | None = None
    text: str = ""
    source: Path | None = None
    recording: Recording | None = None

    @property
    def answered(self) -> tuple[Checkpoint, ...]:
        """The checkpoints with what was generated, without a beginning that was given."""
        if self.answer is None:
            return ()
        given = {*self.question.lineage()}
        return tuple(part for part in self.answer.parts if part.tokens and part not in given)
