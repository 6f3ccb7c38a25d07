"""Steering: where its directions come from, what they do to a model, and their files."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from conftest import ModelMaker
from gguf import GGMLQuantizationType as Type
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tiny_adapters import write_control_vector, write_lora
from tiny_models import ARCHITECTURES, make_model

from mullama_nb import Chat, Context, ContextParams, ControlVector, Model
from mullama_nb.engine.adapters.loaded import AdapterSwitch
from mullama_nb.errors import (
    AdapterError,
    ContextError,
    MullamaError,
    ParameterError,
    SessionWriteError,
)
from mullama_nb.steering import Steering, contrast

PARAMS = ContextParams(n_ctx=128, n_threads=1)
PLUS = ["the sun is out", "a bright day", "what a fine walk"]
MINUS = ["the rain is back", "a dark night", "what a long wait"]


@pytest.fixture(scope="module")
def model(tiny: ModelMaker) -> Model:
    return tiny()


def states(model: Model, prompt: str, **options: Any) -> Any:
    """What each layer puts out for a prompt's last token, looked at in a context of its own."""
    with Context(model, PARAMS, **options) as context:
        context.evaluate(prompt)
        return context.look().hidden[1:].astype(np.float64)


def differences(model: Model) -> Any:
    return np.array(
        [states(model, up) - states(model, down) for up, down in zip(PLUS, MINUS, strict=True)]
    )


# -- directions --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_direction_leads_from_one_mean_to_the_other(tiny: ModelMaker, architecture: str) -> None:
    model = tiny(architecture)
    steering = contrast(model, PLUS, MINUS)
    assert steering.directions.shape == (model.n_layers, model.n_embd)
    assert steering.architecture == model.architecture
    assert steering.layers == tuple(range(1, model.n_layers))
    means = differences(model).mean(axis=0)
    for layer in range(1, model.n_layers):
        wanted = means[layer] / np.linalg.norm(means[layer])
        np.testing.assert_allclose(steering.directions[layer], wanted, atol=1e-3)


def test_a_principal_component_explains_most_and_points_as_the_mean_does(model: Model) -> None:
    steering = contrast(model, PLUS, MINUS, method="pca")
    found = differences(model)
    for layer in range(1, model.n_layers):
        rows = found[:, layer]
        wanted = np.linalg.eigh(rows.T @ rows)[1][:, -1]
        wanted *= np.sign(wanted @ rows.mean(axis=0))
        np.testing.assert_allclose(steering.directions[layer], wanted, atol=1e-3)


def test_both_methods_agree_on_one_pair_and_turn_with_it(model: Model) -> None:
    mean = contrast(model, PLUS[:1], MINUS[:1])
    pca = contrast(model, PLUS[:1], MINUS[:1], method="pca")
    back = contrast(model, MINUS[:1], PLUS[:1], method="pca")
    np.testing.assert_allclose(mean.directions, pca.directions, atol=1e-6)
    np.testing.assert_allclose(-mean.directions, back.directions, atol=1e-6)


def test_means_take_lists_of_any_lengths(model: Model) -> None:
    steering = contrast(model, PLUS, MINUS[:1])
    wanted = np.mean([states(model, each) for each in PLUS], axis=0) - states(model, MINUS[0])
    np.testing.assert_allclose(
        steering.directions[2], wanted[2] / np.linalg.norm(wanted[2]), atol=1e-3
    )


def test_prompts_may_be_messages(tiny: ModelMaker) -> None:
    model = tiny(chat_template="{% for m in messages %}{{ m.content }}!{% endfor %}")
    messages = [[{"role": "user", "content": each}] for each in (PLUS[0], MINUS[0])]
    assert contrast(model, messages[:1], messages[1:]) == contrast(
        model, [f"{PLUS[0]}!"], [f"{MINUS[0]}!"]
    )


def test_some_layers_only(model: Model) -> None:
    whole, some = contrast(model, PLUS, MINUS), contrast(model, PLUS, MINUS, layers=(2, 2))
    assert some.layers == (2,)
    np.testing.assert_array_equal(some.directions[2], whole.directions[2])
    assert repr(some) == "Steering('steering', llama, layer 2, 64 values each)"
    assert repr(whole) == "Steering('steering', llama, layers 1 to 3, 64 values each)"


# -- what they do ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_layer_puts_out_so_much_more_of_its_direction(
    tiny: ModelMaker, architecture: str
) -> None:
    """A direction is taken from the very place to which it is added."""
    model = tiny(architecture)
    layer = model.n_layers - 2
    steering = contrast(model, PLUS, MINUS, layers=(layer, layer))
    before = states(model, "the rain is out")
    for scale in (3.0, -0.5):
        after = states(model, "the rain is out", adapters=[steering.adapter(scale)])
        np.testing.assert_allclose(after[:layer], before[:layer], atol=1e-4)
        moved = after[layer] - before[layer]
        assert moved @ steering.directions[layer] == pytest.approx(scale, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scale_0_is_the_same_as_none_to_the_bit(tiny: ModelMaker, architecture: str) -> None:
    model = tiny(architecture)
    steering = contrast(model, PLUS, MINUS)
    found = []
    for adapters in ([], [steering.adapter(0)], [steering.adapter(2)]):
        with Context(model, PARAMS, adapters=adapters) as context:
            context.evaluate("the rain is out")
            found.append(context.logits.tobytes())
    assert found[0] == found[1] != found[2]


@pytest.fixture(scope="module")
def cheerful(smollm2: Model) -> Steering:
    return contrast(smollm2, *moods())


def moods() -> list[list[list[dict[str, str]]]]:
    questions = ["How was your day?", "What do you think of the weather?", "How do you feel?"]
    return [
        [
            [
                {"role": "system", "content": f"You are a very {mood} person."},
                {"role": "user", "content": question},
            ]
            for question in questions
        ]
        for mood in ("happy and cheerful", "sad and gloomy")
    ]


@pytest.mark.parametrize("method", ["mean", "pca"])
def test_words_of_one_kind_get_likelier_and_those_of_the_other_less_so(
    smollm2: Model, method: Any
) -> None:
    steering = contrast(smollm2, *moods(), method=method)
    words = [" happy", " sad", " glad", " miserable"]
    scales = (-2, -1, 0, 1, 2)
    effect = steering.effect(smollm2, "Today I feel very", words, scales)
    happy, sad, glad, miserable = effect.logprobs.T
    assert (np.diff(happy[1:-1]) > 0.2).all(), effect.logprobs
    assert (np.diff(sad[1:-1]) < -0.2).all(), effect.logprobs
    for lead in (happy - sad, glad - miserable):
        assert (np.diff(lead) > 0.4).all(), effect.logprobs


def test_an_effect_is_what_a_chat_scores(smollm2: Model, cheerful: Steering) -> None:
    effect = cheerful.effect(smollm2, "Today I feel", [" happy", " very sad"], [2, 0, -1])
    assert effect.scales == (2, 0, -1)
    assert effect.continuations == (" happy", " very sad")
    assert repr(effect) == "Effect(3 scales, ' happy', ' very sad')"
    for scale, row in zip(effect.scales, effect.logprobs, strict=True):
        with Context(smollm2, ContextParams(n_ctx=64), adapters=[cheerful.adapter(scale)]) as each:
            chat = Chat(each)
            each.evaluate("Today I feel")
            scores = [chat.score(text) for text in effect.continuations]
            likely = {token.text: math.log(token.probability) for token in each.top_tokens(50_000)}
        np.testing.assert_allclose(row, scores, atol=1e-6)
        assert likely[" happy"] == pytest.approx(row[0], abs=1e-3)
    assert f'<td style="text-align:right">{effect.logprobs[0, 0]:.2f}</td>' in effect._repr_html_()
    with pytest.raises(ValueError, match="read-only"):
        effect.logprobs[0, 0] = 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prompt": ""}, "prompt has an empty prompt"),
        ({"prompt": 3}, "a text or a list of messages"),
        ({"continuations": []}, "continuations has no prompts"),
        ({"continuations": " happy"}, "continuations is a list"),
        ({"continuations": [[{"role": "user", "content": "a"}]]}, "continuations are texts"),
        ({"scales": []}, "scales has no numbers"),
        ({"scales": ["1"]}, "scale must be a number"),
        ({"scales": [float("nan")]}, "out of range"),
    ],
)
def test_an_effect_of_nothing_is_refused(model: Model, changes: dict[str, Any], words: str) -> None:
    steering = Steering(np.eye(4, 64, -1, dtype=np.float32))
    with pytest.raises(ParameterError, match=words):
        steering.effect(model, **({"prompt": "a", "continuations": ["b"]} | changes))


def test_an_effect_on_another_model_is_refused(model: Model) -> None:
    with pytest.raises(AdapterError, match="does not fit"):
        Steering(np.eye(4, 32, -1, dtype=np.float32)).effect(model, "a", ["b"])


def test_a_steered_chat_is_led_back_to_the_bit(smollm2: Model, cheerful: Steering) -> None:
    chat = Chat(smollm2, n_ctx=256, temperature=0)
    question = "How do you feel today?"
    plain = chat.ask(question, max_tokens=12, echo=False)
    chat.undo()
    chat.adapters = [cheerful.adapter(2)]
    steered = chat.ask(question, max_tokens=12, echo=False)
    chat.undo()
    chat.adapters = [cheerful.adapter(0)]
    again = chat.ask(question, max_tokens=12, echo=False)
    assert plain.logprobs == again.logprobs != steered.logprobs


# -- files -------------------------------------------------------------------------------------


@st.composite
def steerings(draw: st.DrawFn) -> Steering:
    rows = draw(
        arrays(
            np.float32,
            st.tuples(st.integers(2, 6), st.integers(1, 5)),
            elements=st.floats(-10, 10, width=32),
        )
    )
    rows[0] = draw(st.sampled_from([0.0, -0.0]))
    return Steering(rows, draw(st.sampled_from(["", "llama", "gemma3", "ünïcode"])))


@pytest.mark.slow
@given(steerings())
def test_what_is_saved_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, steering: Steering
) -> None:
    path = tmp_path_factory.getbasetemp() / "saved.gguf"
    path.unlink(missing_ok=True)
    steering.save(path)
    os.utime(path, ns=(0, next(times)))
    again = Steering.load(path)
    assert again == steering
    assert hash(again) == hash(steering)
    assert again.name == "saved"
    np.testing.assert_array_equal(again.directions, steering.directions)
    assert ControlVector(path) == steering.adapter()


times = itertools.count(1)


def test_a_file_is_as_llama_cpp_writes_it(tmp_path: Path, model: Model) -> None:
    steering = contrast(model, PLUS, MINUS)
    steering.save(tmp_path / "v.gguf")
    reader = gguf.GGUFReader(tmp_path / "v.gguf")
    fields = {
        key: field.contents() for key, field in reader.fields.items() if not key.startswith("GGUF.")
    }
    assert fields == {
        "general.architecture": "controlvector",
        "controlvector.model_hint": "llama",
        "controlvector.layer_count": 3,
    }
    assert reader.fields["controlvector.layer_count"].types == [gguf.GGUFValueType.INT32]
    assert [tensor.name for tensor in reader.tensors] == [f"direction.{n}" for n in (1, 2, 3)]
    for tensor, row in zip(reader.tensors, steering.directions[1:], strict=True):
        assert tensor.tensor_type == Type.F32
        np.testing.assert_array_equal(tensor.data, row)
    assert (tmp_path / "v.gguf").stat().st_mode & 0o077 == 0


def test_a_loaded_one_steers_as_the_first_one_did(tmp_path: Path, model: Model) -> None:
    steering = contrast(model, PLUS, MINUS)
    steering.save(tmp_path / "v.gguf")
    again = Steering.load(tmp_path / "v.gguf")
    assert again.adapter(2) == steering.adapter(2)
    np.testing.assert_array_equal(
        states(model, "so", adapters=[again.adapter(2)]),
        states(model, "so", adapters=[steering.adapter(2)]),
    )


def test_files_of_strangers_without_a_hint_are_read(tmp_path: Path) -> None:
    rows = np.zeros((4, 8), np.float32)
    rows[2] = 1
    again = Steering.load(write_control_vector(tmp_path / "calm.gguf", rows))
    assert again == Steering(rows)
    assert repr(again) == "Steering('calm', layer 2, 8 values each)"


def with_hint(path: Path, add: Any) -> Path:
    writer = gguf.GGUFWriter(path, "controlvector")
    add(writer)
    writer.add_tensor("direction.1", np.ones(4, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_hint_is_a_text(tmp_path: Path) -> None:
    key = "controlvector.model_hint"
    path = with_hint(tmp_path / "a.gguf", lambda writer: writer.add_string(key, "a\n" * 500))
    assert len(repr(Steering.load(path))) < 200
    assert repr(Steering.load(path)).isprintable()
    path = with_hint(tmp_path / "b.gguf", lambda writer: writer.add_uint32(key, 3))
    with pytest.raises(AdapterError, match="model_hint is 3, and not a text"):
        Steering.load(path)


def test_other_files_are_refused(tmp_path: Path, model: Model) -> None:
    with pytest.raises(AdapterError, match="No such file"):
        Steering.load(tmp_path / "none.gguf")
    with pytest.raises(AdapterError, match="is not a file"):
        Steering.load(tmp_path)
    with pytest.raises(AdapterError):
        Steering.load(make_model(tmp_path / "model.gguf", "llama"))
    with pytest.raises(AdapterError, match="is not named direction"):
        Steering.load(write_lora(tmp_path / "l.gguf", model))
    (tmp_path / "text.gguf").write_text("text")
    with pytest.raises(AdapterError, match="not a GGUF file"):
        Steering.load(tmp_path / "text.gguf")


@pytest.mark.slow
@settings(max_examples=100)
@given(data=st.data(), steering=steerings())
def test_a_damaged_file_is_refused_or_read(
    data: st.DataObject, steering: Steering, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.gguf"
    path.unlink(missing_ok=True)
    steering.save(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    os.utime(path, ns=(0, next(times)))
    with contextlib.suppress(AdapterError):
        repr(Steering.load(path))


def test_a_file_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    steering = contrast(model, PLUS, MINUS)
    with pytest.raises(SessionWriteError):
        steering.save(tmp_path / "none" / "v.gguf")
    steering.save(tmp_path / "v.gguf")
    was = (tmp_path / "v.gguf").read_bytes()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(SessionWriteError, match=r"v\.gguf could not be written"):
        contrast(model, MINUS, PLUS).save(tmp_path / "v.gguf")
    assert (tmp_path / "v.gguf").read_bytes() == was
    assert [path.name for path in tmp_path.iterdir()] == ["v.gguf"]


# -- arguments ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"plus": []}, "plus has no prompts"),
        ({"minus": []}, "minus has no prompts"),
        ({"minus": [""]}, "minus has an empty prompt"),
        ({"minus": [[]]}, "minus has an empty prompt"),
        ({"plus": "happy"}, "plus is a list of prompts, not 'happy'"),
        ({"plus": None}, "plus is a list of prompts"),
        ({"plus": {"a": 1}}, "plus is a list of prompts"),
        ({"plus": [3]}, "a prompt in plus is a text or a list of messages, not 3"),
        ({"plus": [[3]]}, "a prompt in plus is a text or a list of messages"),
        ({"plus": [{"role": "user", "content": "a"}]}, "a prompt in plus is a text or a list"),
        ({"plus": [b"a"]}, "a prompt in plus is a text or a list of messages"),
        ({"plus": ["a", "b"], "minus": ["b"]}, "'b' is in plus and in minus"),
        ({"method": "median"}, "use 'mean' or 'pca'"),
        ({"method": "pca", "minus": ["c", "d"]}, "1 prompts in plus and 2 in minus"),
        ({"layers": (0, 2)}, "from 1 to 3"),
        ({"layers": (1, 4)}, "from 1 to 3"),
        ({"layers": (3, 2)}, "from 1 to 3"),
        ({"layers": (1, True)}, "from 1 to 3"),
        ({"layers": 2}, "from 1 to 3"),
        ({"layers": "12"}, "from 1 to 3"),
    ],
)
def test_what_is_wrong_is_refused_at_once(
    model: Model, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], words: str
) -> None:
    def evaluate(*_values: object) -> None:
        raise AssertionError("something was evaluated")

    monkeypatch.setattr("mullama_nb.steering._hidden_states", evaluate)
    with pytest.raises(ParameterError, match=words):
        contrast(model, **({"plus": ["a"], "minus": ["b"]} | changes))


def test_models_are_found_by_name(model: Model, tmp_path: Path) -> None:
    path = make_model(tmp_path / "model.gguf", "llama")
    assert contrast(path, PLUS, MINUS).directions.shape[1] == model.n_embd
    with pytest.raises(MullamaError):
        contrast("no such model", PLUS, MINUS)


def test_layers_that_put_out_no_numbers_are_refused(tmp_path: Path) -> None:
    path = make_model(tmp_path / "model.gguf", "llama")
    (tensor,) = (t for t in Model.load(path).file.tensors if t.name == "blk.1.ffn_down.weight")
    with path.open("r+b") as file:
        file.seek(tensor.offset)
        file.write(np.full(tensor.n_bytes // 4, np.nan, np.float32).tobytes())
    with pytest.raises(ContextError, match="finite numbers"):
        contrast(path.rename(tmp_path / "broken.gguf"), PLUS, MINUS)


def test_a_model_whose_graph_adds_no_vectors_is_refused(
    tiny: ModelMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of hy-v4 in llama.cpp, which no tiny model has."""
    monkeypatch.setattr(AdapterSwitch, "_set_vector", lambda *_values: None)
    with pytest.raises(AdapterError, match="adds no control vectors in models of the architecture"):
        contrast(tiny(), PLUS, MINUS)


def test_one_layer_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="one layer"):
        contrast(make_model(tmp_path / "model.gguf", "llama", n_layer=1), PLUS, MINUS)


def test_prompts_of_the_same_tokens_lead_nowhere(tiny: ModelMaker) -> None:
    model = tiny(chat_template="{% for m in messages %}{{ m.content }}{% endfor %}")
    with pytest.raises(ParameterError, match="are equal"):
        contrast(model, ["a day"], [[{"role": "user", "content": "a day"}]])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"directions": np.ones((3, 4))}, "layer 0"),
        ({"directions": [0, 1]}, "shape"),
        ({"architecture": None}, "architecture is a text"),
        ({"name": 3}, "name is a text"),
    ],
)
def test_a_steering_has_rows_and_names(values: dict[str, Any], words: str) -> None:
    rows = np.array([[0, 0], [1, 2]], np.float32)
    with pytest.raises(ParameterError, match=words):
        Steering(**({"directions": rows} | values))
    steering = Steering(rows)
    rows[1] = 5
    np.testing.assert_array_equal(steering.directions[1], [1, 2])
    with pytest.raises(ValueError, match="read-only"):
        steering.directions[1] = 0
