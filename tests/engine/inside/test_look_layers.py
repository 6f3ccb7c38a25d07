"""What each layer made of a token, worked out again from the file; adapters count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import ModelMaker
from engine.helpers import context_of, words
from gguf import GGUFReader, dequantize
from tiny_adapters import write_lora

from mullama_nb import Context, ContextParams, ControlVector, Look, LoRA, Model
from mullama_nb.engine.inside.anatomy import anatomy_of
from mullama_nb.engine.inside.graph import Floats, Step
from mullama_nb.errors import ContextError

PROMPT = words(60)


class Weights:
    """The tensors of a file, in float32."""

    def __init__(self, model: Model) -> None:
        self._tensors = {tensor.name: tensor for tensor in GGUFReader(model.path).tensors}

    def __getitem__(self, name: str) -> Floats:
        tensor = self._tensors[name]
        values: Floats = dequantize(tensor.data, tensor.tensor_type)
        return values

    def __contains__(self, name: str) -> bool:
        return name in self._tensors


def rms_norm(rows: Floats, epsilon: float = 1e-5) -> Floats:
    normed: Floats = rows / np.sqrt((rows**2).mean(axis=-1, keepdims=True) + epsilon)
    return normed


def layer_norm(rows: Floats) -> Floats:
    middle = rows - rows.mean(axis=-1, keepdims=True)
    return rms_norm(middle)


def said(look: Look) -> Floats:
    return np.array([look.lens(k) for k in range(len(look.hidden))])


# -- against the file ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "norm", "cap", "scale"),
    [
        ("llama", "output_norm.weight", 0, 1),
        ("gemma2", "output_norm.weight", 30, 1),
        ("gemma3", "output_norm.weight", 0, 1),
        ("granite_swa", "output_norm.weight", 0, 2),
        ("mamba", "output_norm.weight", 0, 1),
        ("lfm2", "token_embd_norm.weight", 0, 1),
        ("jamba", "output_norm.weight", 0, 1),
    ],
)
def test_layers_go_through_the_models_own_output(
    tiny: ModelMaker, architecture: str, norm: str, cap: float, scale: float
) -> None:
    look = (context := context_of(tiny(architecture), PROMPT)).look(41)
    weights = Weights(context.model)
    output = weights["output.weight" if "output.weight" in weights else "token_embd.weight"]
    logits = rms_norm(look.hidden) * weights[norm] @ output.T / scale
    logits = np.tanh(logits / cap) * cap if cap else logits
    np.testing.assert_allclose(said(look), logits, atol=2e-3)
    np.testing.assert_allclose(logits[-1], look.logits, atol=2e-3)


def test_a_layer_norm_with_biases_is_the_models_own(tiny: ModelMaker) -> None:
    look = (context := context_of(tiny("bloom"), PROMPT)).look()
    w = Weights(context.model)
    normed = layer_norm(look.hidden) * w["output_norm.weight"] + w["output_norm.bias"]
    np.testing.assert_allclose(said(look), normed @ w["output.weight"].T, atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "factor"),
    [("llama", 1), ("gemma3", 8), ("gemma2", 8), ("granite_swa", 1.5), ("mamba", 1), ("lfm2", 1)],
)
def test_the_embedding_enters_the_first_layer(
    tiny: ModelMaker, architecture: str, factor: float
) -> None:
    context = context_of(tiny(architecture), PROMPT)
    embedding = Weights(context.model)["token_embd.weight"]
    for position in (0, 20, 59):
        entering = context.look(position).hidden[0]
        np.testing.assert_allclose(entering, embedding[PROMPT[position]] * factor, rtol=1e-5)


def test_a_normed_embedding_enters_the_first_layer(tiny: ModelMaker) -> None:
    look = (context := context_of(tiny("bloom"), PROMPT)).look()
    w = Weights(context.model)
    normed = layer_norm(w["token_embd.weight"][PROMPT[-1]])
    normed = normed * w["token_embd_norm.weight"] + w["token_embd_norm.bias"]
    np.testing.assert_allclose(look.hidden[0], normed, atol=1e-5)


def test_a_layer_adds_what_it_takes_from_values(tiny: ModelMaker) -> None:
    """One layer by hand: attention, values and feed-forward give what leaves it."""
    model = tiny("llama", n_layer=1)
    context = context_of(model, PROMPT, kv_cache_type="f32", flash_attention=False)
    look, w = context.look(), Weights(model)
    embeddings = w["token_embd.weight"][PROMPT]
    values = rms_norm(embeddings) * w["blk.0.attn_norm.weight"] @ w["blk.0.attn_v.weight"].T
    heads = values.reshape(len(PROMPT), 2, 16)
    taken = np.concatenate([look.attention[0, h] @ heads[:, h // 2] for h in range(4)])
    stream = look.hidden[0] + w["blk.0.attn_output.weight"] @ taken
    inner = rms_norm(stream) * w["blk.0.ffn_norm.weight"]
    gate = w["blk.0.ffn_gate.weight"] @ inner
    wide = gate / (1 + np.exp(-gate)) * (w["blk.0.ffn_up.weight"] @ inner)
    leaves = stream + w["blk.0.ffn_down.weight"] @ wide
    np.testing.assert_allclose(look.hidden[1], leaves, atol=1e-3)


def test_the_last_layer_of_smollm2_says_the_logits(smollm2: Model) -> None:
    context = Context(smollm2, ContextParams(n_ctx=256, n_threads=2))
    context.evaluate("The capital of France is Paris. The capital of Italy is")
    look = context.look()
    np.testing.assert_allclose(look.lens(smollm2.n_layers), look.logits, atol=0.05)
    guesses = look.guesses(3)
    assert guesses[-1][0].text == context.top_tokens(1)[0].text == " Rome"
    assert guesses[0][0].text != " Rome"
    assert len(guesses) == smollm2.n_layers + 1


# -- adapters -----------------------------------------------------------------------------------


def vector(model: Model, seed: int = 0, scale: float = 1.0) -> ControlVector:
    rows = np.random.default_rng(seed).normal(0, 1, (model.n_layers, model.n_embd))
    rows[0] = 0
    return ControlVector.from_array(rows, name=f"v{seed}", scale=scale)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "lfm2"])
def test_adapters_count_at_the_tokens_that_had_them(
    tiny: ModelMaker, architecture: str, tmp_path: Path
) -> None:
    model = tiny(architecture)
    lora = LoRA(write_lora(tmp_path / "style.gguf", model))
    context = context_of(model, PROMPT[:30])
    context.adapters = [lora]
    context.evaluate(PROMPT[30:50])
    context.adapters = [vector(model), lora]
    context.evaluate(PROMPT[50:])
    context.adapters = []
    for position in (20, 50, 29, 59, 30, 45, 20, 49):
        look = context.look(position)
        np.testing.assert_array_equal(look.logits, context.logits_at(position + 1))
        np.testing.assert_allclose(look.lens(model.n_layers), look.logits, atol=1e-4)


@pytest.mark.parametrize("architecture", ["mamba", "lfm2"])
def test_adapters_count_where_no_state_is_kept(tiny: ModelMaker, architecture: str) -> None:
    model = tiny(architecture)
    context = context_of(model, PROMPT[:30])
    context.adapters = [vector(model)]
    context.evaluate(PROMPT[30:40])
    context.adapters = []
    for token in words(40):  # the states of the latest evaluations are kept, and no others
        context.evaluate([token])
    for position in (20, 35, 45):
        look = context.look(position)
        np.testing.assert_array_equal(look.logits, context.logits_at(position + 1))


def test_a_control_vector_is_in_what_leaves_a_layer(tiny: ModelMaker) -> None:
    model = tiny()
    with context_of(model, PROMPT) as context:
        plain = context.look()
        context.rewind(59)
        context.adapters = [vector(model, 3, 0.5)]
        context.evaluate(PROMPT[59:])
        steered = context.look()
    rows = vector(model, 3).directions * 0.5
    np.testing.assert_array_equal(steered.hidden[:2], plain.hidden[:2])  # before layer 1 ends
    np.testing.assert_allclose(steered.hidden[2] - plain.hidden[2], rows[1], atol=1e-5)
    assert np.abs(steered.logits - plain.logits).max() > 0.1


def test_a_lora_on_the_output_counts_for_every_layer(tiny: ModelMaker, tmp_path: Path) -> None:
    model = tiny()
    lora = LoRA(write_lora(tmp_path / "out.gguf", model, names=["output.weight"]))
    with context_of(model, PROMPT[:59]) as context:
        context.adapters = [lora]
        context.evaluate(PROMPT[59:])
        look = context.look()
        np.testing.assert_allclose(look.lens(4), look.logits, atol=1e-4)
        w = Weights(model)
        plain = rms_norm(look.hidden[2]) * w["output_norm.weight"] @ w["output.weight"].T
        assert np.abs(look.lens(2) - plain).max() > 0.1


# -- graphs that are not known ------------------------------------------------------------------


def steps(**changes: Step) -> list[Step]:
    """The graph of a model of one layer, in short; its layers' steps by name."""
    wide = (1, 1, 1, 8)
    named = {
        "embd": Step("embd", "GET_ROWS", wide, (), ("inp_tokens",), has_mask=True),
        "norm": Step("norm-0", "RMS_NORM", wide, (0,), (), has_mask=False),
        "flash": Step("node_2", "FLASH_ATTN_EXT", (1, 1, 2, 4), (1,), (), has_mask=True),
        "taken": Step("kqv_out-0", "RESHAPE", wide, (2,), (), has_mask=False),
        "end": Step("l_out-0", "ADD", wide, (3, 0), (), has_mask=True),
        "rows": Step("node_5", "GET_ROWS", wide, (4,), ("out_ids",), has_mask=True),
        "output": Step("result_output", "MUL_MAT", (1, 1, 1, 99), (5,), (), has_mask=True),
    }
    return list((named | changes).values())


def test_a_graph_is_read_by_what_it_does() -> None:
    anatomy = anatomy_of(steps(), 1, 8, "llama")
    assert (anatomy.attention, anatomy.hidden) == ({2: 0}, {0: 0, 4: 1})
    assert anatomy.is_headed
    assert set(anatomy.names) == {0, 2, 4}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"end": Step("cur", "ADD", (1, 1, 1, 8), (3, 0), (), has_mask=True)}, "leaves layer 0"),
        (
            {"end": Step("l_out-0", "ADD", (1, 4, 1, 8), (3, 0), (), has_mask=True)},
            "not one vector of 8",
        ),
        ({"embd": Step("embd", "GET_ROWS", (1, 1, 1, 8), (), (), has_mask=True)}, "enters"),
        (
            {"taken": Step("kqv_out-0", "SOFT_MAX", (1, 1, 1, 8), (2,), (), has_mask=True)},
            "more than one attention",
        ),
    ],
)
def test_what_is_not_known_is_refused_in_words(changes: dict[str, Step], words: str) -> None:
    with pytest.raises(ContextError, match=words) as caught:
        anatomy_of(steps(**changes), 1, 8, "strange")
    assert "'strange'" in str(caught.value)


def test_a_softmax_that_chooses_experts_is_no_attention() -> None:
    chosen = Step("ffn_moe_probs-0", "SOFT_MAX", (1, 1, 1, 8), (2,), (), has_mask=False)
    assert anatomy_of(steps(taken=chosen), 1, 8, "moe").attention == {2: 0}


def test_logits_of_more_than_the_last_layer_are_known() -> None:
    mixed = Step("result_output", "ADD", (1, 1, 1, 99), (5, 0), (), has_mask=True)
    assert not anatomy_of(steps(output=mixed), 1, 8, "mixed").is_headed
