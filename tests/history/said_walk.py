"""Random steps of a chat, each compared with what it should do to a list of messages."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path

from tiny_models import CHATML

from mullama_nb import Chat
from mullama_nb.errors import ChatTemplateError
from mullama_nb.history.asking import question_at
from mullama_nb.history.display import chat_html
from mullama_nb.history.message import lines_at
from mullama_nb.history.tree import Checkpoint
from mullama_nb.widgets import ChatPanel

Said = list[tuple[str, str]]

_GENERATION = "{%- if add_generation_prompt -%}<|im_start|>assistant\n{%- endif -%}"
_EACH = "{%- for m in messages -%}<|im_start|>{{ m.role }}\n{{ CONTENT }}<|im_end|>\n{% endfor %}"
_OLD = "m.content if loop.last or m.role != 'assistant' else m.content.split('</t>')[-1]"
TEMPLATES = {
    "appends": CHATML,
    "counts": "{{ messages | length }}\n" + CHATML,
    "trims": _EACH.replace("CONTENT", "m.content | trim") + _GENERATION,
    "strips thoughts": _EACH.replace("CONTENT", _OLD) + _GENERATION,
    "opens a thought": _EACH.replace("CONTENT", "m.content.split('</t>')[-1]")
    + "{%- if add_generation_prompt -%}<|im_start|>assistant\n<t>\n{%- endif -%}",
    "moves the system message": (
        "{%- set ns = namespace(system='', last=0) -%}"
        "{%- for m in messages -%}"
        "{%- if m.role == 'system' -%}{%- set ns.system = m.content -%}{%- endif -%}"
        "{%- if m.role == 'user' -%}{%- set ns.last = loop.index0 -%}{%- endif -%}"
        "{%- endfor -%}"
        "{%- for m in messages if m.role != 'system' -%}"
        "<|im_start|>{{ m.role }}\n"
        "{{ ns.system ~ ' ' if m is sameas messages[ns.last] }}{{ m.content }}<|im_end|>\n"
        "{% endfor %}"
    )
    + _GENERATION,
    "merges": (
        "{%- for m in messages -%}"
        "{%- if loop.first or messages[loop.index0 - 1].role != m.role -%}"
        "<|im_start|>{{ m.role }}\n{%- endif -%}"
        "{{ m.content }}"
        "{%- if loop.last or messages[loop.index0 + 1].role != m.role -%}"
        "<|im_end|>\n{%- else -%}\n\n{%- endif -%}"
        "{% endfor %}"
    )
    + _GENERATION,
    "alternates": (
        "{%- for m in messages if m.role != 'system' -%}"
        "{%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}"
        "{{ raise_exception('roles must alternate') }}{%- endif -%}{%- endfor -%}"
    )
    + CHATML,
}
TEXTS = ["why", "a cat", " two\n", "x</t>A", "été", "end", "<|im_end|>"]
HOT = {"max_tokens": 3, "temperature": 1.5}


def is_question(role: str) -> bool:
    return role not in ("system", "assistant")


class Walk:
    """Random steps, each compared with what it should do to a list of messages."""

    def __init__(self, chat: Chat, seed: int, folder: Path) -> None:
        self.chat = chat
        self.random = random.Random(seed)
        self.folder = folder
        self.panel = ChatPanel(chat)
        self.known: dict[str, Said] = {}
        self.done: list[str] = []
        self.check()

    def said(self) -> Said:
        return [(m["role"], m["content"]) for m in self.chat.messages]

    def text(self) -> str:
        return self.random.choice(TEXTS)

    def step(self) -> None:
        name = self.random.choice([*STEPS])
        self.done.append(name)
        before, head, n = self.said(), self.chat.head, len(self.chat.tree)
        try:
            expected = STEPS[name](self, before)
        except ChatTemplateError:
            assert (self.said(), self.chat.head, len(self.chat.tree)) == (before, head, n)
        else:
            if expected is not None:
                assert self.said()[: len(expected)] == expected, self.done
        self.check()

    def pick(self, role: str | None = None) -> int | None:
        turns = self.chat.turns
        found = [i for i, t in enumerate(turns) if role in (None, t.role) and t.role != "system"]
        return self.random.choice(found) if found else None

    def ask(self, before: Said) -> Said:
        text = self.text()
        turn = self.chat.ask(text, **HOT)
        assert len(self.said()) == len(before) + 2
        return [*before, ("user", text), ("assistant", turn.text)]

    def ask_several(self, before: Said) -> Said:
        told = [("user", self.text()), ("assistant", self.text()), ("user", self.text())]
        turn = self.chat.ask([{"role": r, "content": t} for r, t in told], **HOT)
        return [*before, *told, ("assistant", turn.text)]

    def ask_twice(self, before: Said) -> Said:
        told = [("user", self.text()), ("user", self.text())]
        turn = self.chat.ask([{"role": r, "content": t} for r, t in told], **HOT)
        return [*before, *told, ("assistant", turn.text)]

    def prefill(self, before: Said) -> Said:
        question, begun = self.text(), self.text()
        told = [{"role": "user", "content": question}, {"role": "assistant", "content": begun}]
        turn = self.chat.ask(told, **HOT)
        assert turn.text.startswith(begun)
        again = self.chat.regenerate(**HOT)
        assert again.text.startswith(begun)
        return [*before, ("user", question), ("assistant", again.text)]

    def edit(self, before: Said) -> Said | None:
        i, text = self.pick(), self.text()
        if i is None:
            return None
        role = before[i][0]
        turn = self.chat.edit(text, self.chat.turns[i], **HOT)
        if role == "assistant":
            assert len(self.said()) == i + 1
            return [*before[:i], ("assistant", text)]
        return [*before[:i], (role, text), ("assistant", turn.text)]

    def regenerate(self, before: Said) -> Said | None:
        i = self.pick("assistant")
        if i is None:
            return None
        turn = self.chat.regenerate(self.chat.turns[i], **HOT)
        assert len(self.said()) == i + 1
        return [*before[:i], ("assistant", turn.text)]

    def answer(self, before: Said) -> Said | None:
        """Answer what is stood on, or the last question again, in one of the ways to do that."""
        if self.random.random() < 0.5:
            self.checkout_turn(before)
        before = self.at(question_at(self.chat.head) or self.chat.head)  # of a piece, its question
        roles = [role for role, _ in before]
        if roles and is_question(roles[-1]):
            n = len(before)
        elif "assistant" in roles:
            n = len(roles) - 1 - roles[::-1].index("assistant")
        else:
            return None
        way = self.random.choice(["regenerate", "explore", "resume"])
        if way == "resume" and n == len(before):
            turn = self.chat.resume(**HOT)
        elif way == "explore" and n >= len(before) - 1:
            turn = self.chat.explore(n=2, **HOT)[1]
            assert self.said()[:n] == before[:n]  # behind which an answer may have been begun
            turn.keep()
        else:
            turn = self.chat.regenerate(**HOT)
        assert len(self.said()) == n + 1
        return [*before[:n], ("assistant", turn.text)]

    def instruct(self, before: Said) -> Said | None:
        """Say another system message; the first questions are asked again."""
        told = before[1:] if before and before[0][0] == "system" else before
        asked = [*itertools.takewhile(lambda each: each[0] != "assistant", told)]
        if not asked:
            return None
        text = self.random.choice(["be long", "be odd", "be brief"])
        turn = self.chat.edit(text, "ROOT", **HOT)
        assert len(self.said()) == len(asked) + 2
        return [("system", text), *asked, ("assistant", turn.text)]

    def fork(self, before: Said) -> Said | None:
        i = self.pick("assistant")
        if i is None or not self.chat.turns[i].tokens:
            return None
        turn = self.chat.turns[i]
        forked = self.chat.fork(turn, token=self.random.randrange(len(turn.tokens)), **HOT)
        assert len(self.said()) == i + 1
        return [*before[:i], ("assistant", forked.text)]

    def checkout_turn(self, before: Said) -> Said | None:
        i = self.pick()
        if i is None:
            return None
        self.chat.checkout(self.chat.turns[i])
        assert len(self.said()) == i + 1
        return before[: i + 1]

    def checkout(self, _: Said) -> Said:
        self.chat.checkout(self.random.choice([self.chat.tree.root, *self.chat.tree]))
        return self.known[self.chat.head.id]

    def checkout_raw(self, _: Said) -> Said:
        target = self.random.choice([self.chat.tree.root, *self.chat.tree])
        self.chat.tree.checkout(target)
        return self.known[target.id]

    def undo(self, before: Said) -> Said | None:
        questions = [i for i, (role, _) in enumerate(before) if is_question(role)]
        is_whole = all(t.index is None or t.checkpoint.is_root for t in self.chat.turns)
        n = self.chat.undo_steps
        self.chat.undo()
        if not n:
            assert self.said() == before
            return before
        assert self.chat.undo_steps == n - 1
        if is_whole:
            assert n == len(questions)
            assert len(self.said()) == questions[-1]
        kept = self.said()
        if self.chat.head.is_root and self.chat.system:  # it has the chat's own, if any
            assert kept == [("system", self.chat.system)]
        else:
            assert before[: len(kept)] == kept
        if self.random.random() < 0.5:
            self.chat.redo()
            return before
        return kept

    def explore(self, before: Said) -> Said:
        text = self.text()
        answers = self.chat.explore(text, n=2, **HOT)
        if self.random.random() < 0.3:
            answers[1].keep()
            return [*before, ("user", text), ("assistant", answers[1].text)]
        if self.random.random() < 0.3:
            turn = self.chat.resume(**HOT)
            return [*before, ("user", text), ("assistant", turn.text)]
        return [*before, ("user", text)]

    def prune(self, before: Said) -> Said | None:
        nodes = [*self.chat.tree]
        if len(nodes) < 4:
            return None
        node = self.random.choice(nodes)
        parent = node.parent
        assert parent is not None
        is_here = node.is_ancestor_of(self.chat.head)
        self.chat.tree.prune(node, force=True)
        return self.known[parent.id] if is_here else before

    def trim(self, before: Said) -> Said | None:
        questions = [i for i, (role, _) in enumerate(before) if is_question(role)]
        if len(questions) < 2 or before[-1][0] == "system":
            return None
        begin = questions[-self.random.randint(1, len(questions))]
        self.chat.trim(keep=len(questions) - questions.index(begin))
        system = [m for m in before[:1] if m[0] == "system"]
        expected = [*system, *before[begin:]]
        assert self.said() == (before if begin == questions[0] else expected)
        return self.said()

    def save_and_open(self, before: Said) -> Said:
        self.chat.save("walk", self.folder, replace=True)
        tags = len(self.chat.tree)
        system = self.chat.system
        again = Chat.open("walk", self.chat.model, self.folder)
        assert len(again.tree) == tags
        assert again.system == system
        self.chat.context.close()
        self.chat, self.panel = again, ChatPanel(again)
        return before

    # -- what holds after each step -----------------------------------------------------------

    def at(self, node: Checkpoint) -> Said:
        lines = lines_at(node, self.chat.system)
        return [(line.message["role"], line.message["content"]) for line in lines]

    def check(self) -> None:
        chat, said = self.chat, self.said()
        assert [(t.role, t.text) for t in chat.turns] == said
        shown = self.panel.take_snapshot()["messages"]
        assert [(m["role"], m["text"]) for m in shown] == said
        assert len({m["id"] for m in shown}) == len(said)
        assert chat._repr_mimebundle_()[0]["text/html"] == chat_html(chat.messages)
        for role, text in said:
            assert f"<strong>{role}</strong>" in self.panel.draw_html()
            assert text.strip() == "" or role
        self._check_memory(said)
        ids = {node.id for node in chat.tree}
        self.known = {i: s for i, s in self.known.items() if i in ids}
        for node in [chat.tree.root, *chat.tree]:
            assert self.at(node) == self.known.setdefault(node.id, self.at(node)), self.done
        assert chat.undo_steps <= sum(is_question(role) for role, _ in said)

    def _check_memory(self, said: Said) -> None:
        """What the template writes for these messages is what the context holds."""
        chat, head = self.chat, self.chat.head
        if said and is_question(said[-1][0]) and not head.metadata.cut:
            prompt = chat.model.apply_chat_template(chat.messages)
            assert chat.context.text() == str(prompt), self.done


STEPS: dict[str, Callable[[Walk, Said], Said | None]] = {
    name: getattr(Walk, name)
    for name in (
        *("ask", "ask_several", "ask_twice", "prefill", "edit", "edit", "regenerate", "fork"),
        *("answer", "answer", "instruct"),
        *("checkout_turn", "checkout", "checkout_raw", "undo", "explore", "prune", "trim"),
        "save_and_open",
    )
}
