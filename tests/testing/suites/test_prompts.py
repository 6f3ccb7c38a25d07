"""The tokens of a prompt are known before it is said, whatever the chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from template_models import make_template_model

from mullama_nb import Chat, Context, ContextParams, Model
from mullama_nb.errors import ChatTemplateError, ContextFullError
from mullama_nb.testing import Case
from mullama_nb.testing.suites.prompts import planned_tokens, prompt_of, put, template_of
from mullama_nb.testing.suites.settings import checked_settings

FOLDER = Path(__file__).parents[2] / "templates"
TEMPLATES = [path for path in sorted(FOLDER.glob("*.jinja"))[::3] if "hostile" not in path.name]
PARAMS = ContextParams(n_ctx=1024, n_threads=1, n_threads_batch=1)

TEXTS = st.text(st.sampled_from("ab é\n<|>{}.:"), min_size=1, max_size=12).filter(str.strip)


@st.composite
def said(draw: st.DrawFn) -> Any:
    """A question; or a talk that perhaps begins with a system message, and ends in an answer."""
    if draw(st.booleans()):
        return draw(TEXTS)
    messages = [{"role": "system", "content": draw(TEXTS)}] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(0, 2))):
        messages += [{"role": role, "content": draw(TEXTS)} for role in ("user", "assistant")]
    messages.append({"role": "user", "content": draw(TEXTS)})
    if draw(st.booleans()):
        messages.append({"role": "assistant", "content": draw(TEXTS)})
    return messages


@pytest.mark.slow
@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::mullama_nb.errors.ParameterWarning")
@pytest.mark.filterwarnings("ignore::mullama_nb.errors.PromptWarning")
def test_tokens_are_known_before_they_are_said(path: Path, tmp_path: Path) -> None:
    model = Model.load(make_template_model(tmp_path / "m.gguf", path.read_text("utf-8")))
    context = Context(model, PARAMS)
    both = checked_settings([{}, {"system": "Be brief."}])

    @given(said(), st.sampled_from(both))
    @settings(max_examples=4, suppress_health_check=list(HealthCheck), database=None)
    def check(given_: Any, setting: Any) -> None:
        case = Case(given_)
        planned = planned_tokens(case, setting, model)
        context.clear()
        context.release()
        prompt = prompt_of(case, setting, model)
        try:
            chat = Chat(context, prompt.system)
            chat._conversation.template = template_of(setting, model)
            put(chat, prompt)
        except (ChatTemplateError, ContextFullError):
            return
        assert context.tokens == planned

    check()
