"""Cases and checks that workers import, as a user's module is."""

from __future__ import annotations

import os
from dataclasses import dataclass

from mullama_nb import Chat
from mullama_nb.testing import Check, Finding, Subject


def lead(chat: Chat) -> None:
    chat.ask("One?", max_tokens=3)
    chat.ask("Two?", max_tokens=3)


def is_text(text: str) -> bool:
    return isinstance(text, str)


@dataclass(frozen=True)
class Answered(Check):
    """What was answered."""

    def judge(self, subject: Subject) -> Finding:
        return self._found(passed=True, detail=repr(subject.text))


@dataclass(frozen=True)
class InProcess(Check):
    """Which process judged."""

    @property
    def needs_answer(self) -> bool:
        return False

    def judge(self, subject: Subject) -> Finding:
        del subject
        return self._found(passed=True, detail=str(os.getpid()))
