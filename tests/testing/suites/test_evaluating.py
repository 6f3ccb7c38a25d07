"""Cells of suites: what is evaluated, what is shared, what is judged, and what comes of errors."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from conftest import ModelMaker
from testing.suites.conftest import Counter
from tiny_models import CHATML

from mullama_nb import Chat, ControlVector, Model
from mullama_nb.testing import Check, Finding, Subject, SuiteResult
from mullama_nb.testing.suites.case import Case
from mullama_nb.testing.suites.prompts import DATE
from mullama_nb.testing.suites.suite import Suite

KINDS = ["llama", "gemma3", "mamba", "lfm2"]
SMALL = {"n_ctx": 512, "n_threads": 1, "n_threads_batch": 1}
DOCUMENT = "In the beginning there was a long text that every question is about. " * 3


@dataclass(frozen=True)
class Bits(Check):
    """What it finds are the logits behind the question, to the bit."""

    @property
    def needs_answer(self) -> bool:
        return False

    def judge(self, subject: Subject) -> Finding:
        with subject.chat.tree.visit(subject.question):
            bits = hash(subject.chat.context.logits.tobytes())
        return self._found(passed=True, detail=str(bits))


@dataclass(frozen=True)
class Answered(Check):
    """An answer of any kind will do."""

    def judge(self, subject: Subject) -> Finding:
        assert subject.answer is not None
        return self._found(passed=True, detail=subject.text)


def lead(chat: Chat) -> None:
    chat.ask("What is " + DOCUMENT, max_tokens=3)
    chat.ask("And why?", max_tokens=3)


def asks_only(chat: Chat) -> None:
    chat.replay([{"role": "user", "content": DOCUMENT + "Why?"}])


def says_nothing(chat: Chat) -> None:
    del chat


def cases(*checks: Check) -> list[Case]:
    """Questions on a document, within one message, and others."""
    where = DOCUMENT + "Where?"
    begun = [
        {"role": "user", "content": where},
        {"role": "assistant", "content": "In"},
    ]
    talk = [
        {"role": "user", "content": DOCUMENT + "Who?"},
        {"role": "assistant", "content": "She."},
        {"role": "user", "content": "Really?"},
    ]
    return [
        Case(DOCUMENT + "Who?", checks, name="who", max_tokens=4),
        Case("Something else.", checks, name="else", max_tokens=4, temperature=0),
        Case(DOCUMENT + "Why?", checks, name="why", max_tokens=4),
        Case(begun, checks, name="begun", max_tokens=3, temperature=0),
        Case(talk, checks, name="talk", max_tokens=3),
        Case(DOCUMENT + "Who?", checks, name="who again", max_tokens=2, temperature=0),
        Case(lead, checks, name="lead"),
        Case(asks_only, checks, name="asks"),
    ]


def words(result: SuiteResult) -> dict[str, tuple[Any, ...]]:
    """What must not depend on what ran before."""
    return {
        cell.id: (
            [dataclasses.asdict(answer) for answer in cell.answers],
            [(f.check, f.detail, f.passed) for f in cell.findings],
            cell.tree,
            cell.n_prompt,
            cell.error,
        )
        for cell in result.cells
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_cells_are_the_same_to_the_bit_whatever_ran_before(
    tiny: ModelMaker, decoded: Counter, kind: str
) -> None:
    model = tiny(kind, chat_template=CHATML)
    settings = [SMALL, SMALL | {"system": "Be brief."}, SMALL | {"seed": 7}]
    suite = Suite(cases(Bits(), Answered())[:6], [model], settings)
    whole = suite.run()
    assert [cell.error for cell in whole.cells] == [None] * 18
    assert decoded.n_tokens == whole.tokens_evaluated < 0.6 * whole.tokens_alone
    alone = [suite.run(select=[id_]) for id_ in suite.cell_ids]
    for id_, one in zip(suite.cell_ids, alone, strict=True):
        assert words(one) == {id_: words(whole)[id_]}
        assert one[id_].tokens_evaluated == one[id_].tokens_alone == whole[id_].tokens_alone
    # In parts, whichever they are.
    chosen = random.Random(kind).sample(suite.cell_ids, 9)
    assert words(suite.run(select=chosen)) == {id_: words(whole)[id_] for id_ in chosen}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "mamba"])
def test_functions_lead_their_chats_and_share_what_there_is(
    tiny: ModelMaker, decoded: Counter, kind: str
) -> None:
    model = tiny(kind, chat_template=CHATML)
    settings = [SMALL | {"system": DOCUMENT, "temperature": 0}]
    suite = Suite([*cases(Answered())[6:], *cases(Answered())[:2]], [model], settings)
    result = suite.run()
    assert decoded.n_tokens == result.tokens_evaluated < 0.8 * result.tokens_alone
    led, asked, *_ = result.cells
    assert (led.question, asked.question) == ("And why?", DOCUMENT + "Why?")
    assert led.tree.count("Model") == 2
    assert [len(cell.answers) for cell in result.cells] == [1, 1, 1, 1]
    for id_ in suite.cell_ids:
        one = suite.run(select=[id_])
        assert [a.text for a in one[id_].answers] == [a.text for a in result[id_].answers]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_generated_where_no_check_needs_an_answer(
    tiny: ModelMaker, decoded: Counter, kind: str
) -> None:
    model = tiny(kind, chat_template=CHATML)
    suite = Suite(cases(Bits())[:6], [model], [SMALL], repeat=3)
    result = suite.run()
    assert result.passed
    assert all(cell.answers == () for cell in result.cells)
    assert decoded.n_tokens == result.tokens_evaluated
    prompts = {cell.case: cell.n_prompt for cell in result.cells}
    longest = max(prompts.values())
    # The document once, and each question.
    assert result.tokens_evaluated < longest + sum(prompts.values()) - 4 * (longest - 30)


def test_a_model_without_a_template_completes_texts(tiny: ModelMaker) -> None:
    model = tiny("llama")
    suite = Suite(
        [
            Case("Once upon a time", [Answered()], name="text", max_tokens=5, temperature=0),
            Case([{"role": "user", "content": "Why?"}], [Answered()], name="messages"),
        ],
        [model],
        [SMALL, SMALL | {"system": "Be brief."}, SMALL | {"chat_template": CHATML}],
    )
    result = suite.run()
    plain = result["text[" + suite.model_labels[0] + ",default]"]
    chat = Chat(model, chat_template="plain", **SMALL)
    chat.context.evaluate("Once upon a time")
    said = chat.context.generate(None, 5, temperature=0)
    assert plain.answers[0].tokens == tuple(token.id for token in said.tokens)
    assert plain.n_prompt == len(model.tokenize("Once upon a time", add_bos=True))
    errors = [cell.error is not None for cell in result.cells]
    assert errors == [False, True, False, True, True, False]
    assert "has no chat template" in str(result.cells[1].error)


def test_answers_are_those_of_a_chat(tiny: ModelMaker) -> None:
    model = tiny("llama", chat_template=CHATML)
    setting = SMALL | {"system": "Be brief.", "temperature": 0.9, "seed": 4, "max_tokens": 6}
    (cell,) = Suite([Case("Why?", [Answered()])], [model], [setting]).run().cells
    chat = Chat(model, "Be brief.", temperature=0.9, seed=4, **SMALL)
    turn = chat.ask("Why?", max_tokens=6)
    (answer,) = cell.answers
    assert (answer.text, answer.tokens, answer.logprobs) == (turn.text, turn.tokens, turn.logprobs)
    assert (answer.seed, answer.sibling, answer.finish_reason) == (4, 0, turn.finish_reason)
    assert "".join(answer.pieces) == turn.raw
    assert len(answer.tops) == len(answer.tokens)
    for token, logprob, top in zip(answer.tokens, answer.logprobs, answer.tops, strict=True):
        assert dict(top).get(token, logprob) == pytest.approx(logprob, abs=1e-5)
        assert [value for _, value in top] == sorted((value for _, value in top), reverse=True)
    assert cell.tree == str(chat.tree)
    assert cell.n_prompt == turn.checkpoint.start
    assert cell.fingerprint == model.fingerprint
    assert cell.settings["fingerprint"] == model.fingerprint
    assert cell.environment


def test_several_answers_are_drawn_in_one_batch_and_judged_each(tiny: ModelMaker) -> None:
    model = tiny("llama", chat_template=CHATML)
    setting = SMALL | {"max_tokens": 6, "temperature": 1.0}

    def has_a_vowel(text: str) -> bool:
        return any(letter in text for letter in "aeiou")

    (cell,) = Suite([Case("Why?", [Bits(), has_a_vowel])], [model], [setting], repeat=5).run().cells
    chat = Chat(model, temperature=1.0, **SMALL)
    turns = chat.explore("Why?", 5, max_tokens=6)
    assert [answer.text for answer in cell.answers] == [turn.text for turn in turns]
    assert [answer.sibling for answer in cell.answers] == [0, 1, 2, 3, 4]
    assert len({answer.tokens for answer in cell.answers}) > 1
    bits, vowels = cell.findings
    assert (bits.n_drawn, bits.interval) == (1, None)
    n = sum(map(has_a_vowel, (turn.text for turn in turns)))
    assert (vowels.n_passed, vowels.n_drawn, vowels.passed) == (n, 5, n == 5)
    assert vowels.interval is not None


def test_where_nothing_is_drawn_one_answer_is_all(tiny: ModelMaker) -> None:
    model = tiny("llama", chat_template=CHATML)
    case = Case("Why?", [Answered()], temperature=0, max_tokens=3)
    (cell,) = Suite([case], [model], [SMALL], repeat=5).run().cells
    assert [answer.seed for answer in cell.answers] == [None]
    assert cell.findings[0].n_drawn == 1


def test_a_function_is_led_again_with_another_seed(tiny: ModelMaker) -> None:
    model = tiny("llama", chat_template=CHATML)
    setting = SMALL | {"seed": 10, "temperature": 1.0}
    (cell,) = Suite([Case(lead, [Answered()])], [model], [setting], repeat=3).run().cells
    assert [answer.seed for answer in cell.answers] == [10, 11, 12]
    assert cell.findings[0].n_drawn == 3


class Raises(Check):
    """A check that is broken."""

    def judge(self, subject: Subject) -> Finding:
        raise ZeroDivisionError(f"a check of theirs on {subject.text[:0]}words")


def test_an_error_in_a_cell_is_its_result_and_others_go_on(tiny: ModelMaker) -> None:
    model = tiny("llama", chat_template=CHATML)
    suite = Suite(
        [
            Case("Why?", [Bits(), Raises()], name="raises", max_tokens=2),
            Case("word " * 600, [Answered()], name="full"),
            Case(says_nothing, [Answered()], name="nothing"),
            Case([{"role": "nobody", "content": "a"}], [Answered()], name="role", max_tokens=2),
            Case("Why?", [Answered()], name="fine", max_tokens=2),
        ],
        [model],
        [SMALL, SMALL | {"chat_template": "{{ raise_exception('no') }}"}],
    )
    result = suite.run()
    label = suite.model_labels[0]
    errors = {cell.case: cell.error for cell in result.cells if cell.setting == "default"}
    assert errors["raises"] == "ZeroDivisionError: a check of theirs on words"
    assert errors["full"] is not None
    assert errors["full"].startswith("ContextFullError: ")
    assert "led the chat nowhere" in str(errors["nothing"])
    assert errors["fine"] is None
    raised = result[f"raises[{label},default]"]
    assert [finding.check for finding in raised.findings] == ["Bits()"]
    assert len(raised.answers) == 1
    others = [cell for cell in result.cells if cell.setting != "default"]
    assert [str(cell.error).partition(":")[0] for cell in others] == [
        *["ChatTemplateError"] * 2,
        "HistoryError",
        *["ChatTemplateError"] * 2,
    ]
    assert not result.passed


def test_an_error_leaves_no_trace_in_the_cells_behind_it(tiny: ModelMaker) -> None:
    model = tiny("llama", chat_template=CHATML)
    broken = Case(DOCUMENT + "Who?", [Raises()], name="broken", max_tokens=3)
    good = Case(DOCUMENT + "Why?", [Bits(), Answered()], name="good", max_tokens=3)
    suite = Suite([broken, good], [model], [SMALL])
    alone = suite.run(select=suite.cell_ids[1:])
    assert words(suite.run())[suite.cell_ids[1]] == words(alone)[suite.cell_ids[1]]


def test_templates_are_told_one_date(tiny: ModelMaker, decoded: Counter) -> None:
    dated = "{{ strftime_now('%Y-%m-%d %H:%M:%S.%f') }} " + CHATML
    model = tiny("llama", chat_template=dated)
    suite = Suite(
        [*cases(Bits(), Answered())[:2], Case(asks_only, [Bits()])],
        [model],
        [SMALL, SMALL | {"system": "Be brief."}],
    )
    first, second = suite.run(), suite.run()
    assert words(first) == words(second)
    assert all(cell.error is None for cell in first.cells)
    assert decoded.n_tokens == 2 * first.tokens_evaluated
    # The beginning, which has the date, is shared.
    assert first.tokens_alone - first.tokens_evaluated > 3 * len(model.tokenize("2025-01-01"))
    chat = Chat(model, **SMALL)
    chat._conversation.template = dataclasses.replace(chat._conversation.template, date=DATE)
    turn = chat.ask(cases()[0].said, max_tokens=4)  # type: ignore[arg-type]
    assert first.cells[0].answers[0].tokens == turn.tokens


def test_a_real_model_gives_the_same_bits_whatever_ran_before(
    smollm2: Model, decoded: Counter
) -> None:
    """Beyond 256 cells, 64 tokens in a batch and one thread, where kernels differ."""
    document = "The harbour was quiet, and the boats lay side by side in the rain. " * 18
    asked = ["Who was there?", "What was quiet?", "What was it that lay there?", "Why?"]
    settings = [
        {"n_ctx": 1024, "n_threads": 2, "temperature": 0, "max_tokens": 8},
        {"n_ctx": 1024, "n_threads": 2, "kv_cache_type": "q8_0", "max_tokens": 8},
    ]
    suite = Suite(
        [Case(document + each, [Bits(), Answered()], name=each) for each in asked],
        [smollm2],
        settings,
    )
    whole = suite.run()
    assert decoded.n_tokens == whole.tokens_evaluated < 0.4 * whole.tokens_alone
    for ids in (suite.cell_ids[2:3], suite.cell_ids[:0:-4]):
        part = suite.run(select=ids)
        assert words(part) == {id_: words(whole)[id_] for id_ in suite.cell_ids if id_ in ids}


@pytest.mark.slow
def test_settings_with_adapters_share_with_their_like_only(
    tiny: ModelMaker, decoded: Counter
) -> None:
    model = tiny("llama", chat_template=CHATML)
    directions = np.zeros((model.n_layers, model.n_embd), np.float32)
    directions[1:] = 0.5
    steered = SMALL | {"adapters": [ControlVector.from_array(directions, name="up")]}
    suite = Suite(cases(Bits(), Answered())[:3], [model], [SMALL, steered])
    assert suite.setting_labels == ("default", "control vector up")
    result = suite.run()
    assert decoded.n_tokens == result.tokens_evaluated
    plain, with_vector = (
        [cell.findings[0].detail for cell in result.cells if cell.setting == label]
        for label in suite.setting_labels
    )
    assert not {*plain} & {*with_vector}
    n_plain = Suite(cases(Bits(), Answered())[:3], [model], [SMALL]).run().tokens_evaluated
    assert result.tokens_evaluated == pytest.approx(2 * n_plain, abs=8)
    for id_ in suite.cell_ids:
        assert words(suite.run(select=[id_])) == {id_: words(result)[id_]}
    assert result.cells[1].settings["adapters"][0]["name"] == "up"
    assert "adapters" not in result.cells[0].settings
