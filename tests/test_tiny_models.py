"""The tiny models load, talk, remember and are what they say they are."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt
import pytest
from llama_cpp.llama_chat_format import Jinja2ChatFormatter
from tiny_models import (
    ARCHITECTURES,
    CHATML,
    CONTROL_TOKENS,
    IM_END,
    IM_START,
    DType,
    cut_vocabulary,
    make_model,
    make_vocabulary_only,
)

from mullama_nb.engine import native

N_VOCAB = 512
PROMPT = [int(token) for token in np.random.default_rng(7).integers(17, N_VOCAB, 60)]
TEXTS = [
    "Hello, world!",
    "Grüße aus Köln, 北京 and ελληνικά",
    "🙂👩‍👩‍👧 \t two\n\nlines  ",
    "",
]

# llama.cpp keeps the callback's address, so it has to live as long as the process.
_SILENCE = llama_cpp.llama_log_callback(lambda _level, _text, _data: None)


@pytest.fixture(scope="module", autouse=True)
def silence() -> Iterator[None]:
    native.start()
    llama_cpp.llama_log_set(_SILENCE, ctypes.c_void_p(0))
    yield
    llama_cpp.llama_log_set(native._log, ctypes.c_void_p(0))


@contextmanager
def opened(path: Path, *, vocab_only: bool = False) -> Generator[Any, None, None]:
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = vocab_only
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
    assert model, f"{path.name} does not load"
    try:
        yield model
    finally:
        llama_cpp.llama_model_free(model)


@contextmanager
def context_of(model: Any, *, kv_type: int = llama_cpp.GGML_TYPE_F16) -> Generator[Any, None, None]:
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = 256
    params.n_threads = params.n_threads_batch = 1
    params.swa_full = True
    params.type_k = params.type_v = kv_type
    params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
    context = llama_cpp.llama_init_from_model(model, params)
    assert context, "no context"
    try:
        yield context
    finally:
        llama_cpp.llama_free(context)


def decode(context: Any, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
    array = (llama_cpp.llama_token * len(tokens))(*tokens)
    batch = llama_cpp.llama_batch_get_one(array, len(tokens))
    assert llama_cpp.llama_decode(context, batch) == 0
    logits = llama_cpp.llama_get_logits_ith(context, -1)
    return np.ctypeslib.as_array(logits, shape=(N_VOCAB,)).copy()


def greedy(context: Any, prompt: Sequence[int], n_tokens: int) -> list[int]:
    logits = decode(context, prompt)
    tokens: list[int] = []
    while len(tokens) < n_tokens:
        assert np.isfinite(logits).all()
        tokens.append(int(logits.argmax()))
        logits = decode(context, tokens[-1:])
    return tokens


def tokenize(model: Any, text: str, *, special: bool = False) -> list[int]:
    data = text.encode()
    tokens = (llama_cpp.llama_token * (len(data) + 8))()
    vocab = llama_cpp.llama_model_get_vocab(model)
    n = llama_cpp.llama_tokenize(vocab, data, len(data), tokens, len(tokens), False, special)
    assert n >= 0
    return list(tokens[:n])


def detokenize(model: Any, tokens: Sequence[int]) -> bytes:
    vocab = llama_cpp.llama_model_get_vocab(model)
    piece = ctypes.create_string_buffer(64)
    data = b""
    for token in tokens:
        n = llama_cpp.llama_token_to_piece(vocab, token, piece, len(piece), 0, True)
        assert n >= 0
        data += piece.raw[:n]
    return data


Maker = Callable[..., Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """Make a model once per module for each set of arguments."""
    folder = tmp_path_factory.mktemp("models")

    def make(architecture: str, **options: Any) -> Path:
        name = "-".join([architecture, *(f"{key}={value}" for key, value in options.items())])
        path = folder / f"{name}.gguf"
        return path if path.exists() else make_model(path, architecture, **options)

    return make


each_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


@pytest.mark.slow
@each_architecture
@pytest.mark.parametrize("options", [{}, {"head_dim": 32}, {"dtype": "f16"}], ids=str)
def test_greedy_text_is_varied(made: Maker, architecture: str, options: dict[str, Any]) -> None:
    with opened(made(architecture, **options)) as model, context_of(model) as context:
        tokens = greedy(context, PROMPT, 40)
    assert len(set(tokens)) >= 15
    assert not set(tokens) & set(CONTROL_TOKENS)


@each_architecture
def test_a_token_of_long_ago_matters(made: Maker, architecture: str) -> None:
    """A state that does not matter would pass every test of saving and restoring it."""
    # All attention of lfm2swa is windowed: two such layers see no further than two windows.
    distance = 30 if architecture == "lfm2swa" else len(PROMPT)
    other = list(PROMPT)
    other[-distance] = 100 if other[-distance] != 100 else 101
    with opened(made(architecture)) as model:
        with context_of(model) as context:
            logits = decode(context, PROMPT)
        with context_of(model) as context:
            difference = np.abs(decode(context, other) - logits).max()
    assert difference > 0.01


@pytest.mark.parametrize(
    ("architecture", "recurrent", "hybrid", "window", "rope"),
    [
        ("llama", False, False, 0, llama_cpp.LLAMA_ROPE_TYPE_NORM),
        ("qwen2vl", False, False, 0, llama_cpp.LLAMA_ROPE_TYPE_MROPE),
        ("gemma3", False, False, 32, llama_cpp.LLAMA_ROPE_TYPE_NEOX),
        ("gemma2", False, False, 32, llama_cpp.LLAMA_ROPE_TYPE_NEOX),
        ("granite_swa", False, False, 32, llama_cpp.LLAMA_ROPE_TYPE_NORM),
        ("gpt-oss", False, False, 32, llama_cpp.LLAMA_ROPE_TYPE_NEOX),
        ("bloom", False, False, 0, llama_cpp.LLAMA_ROPE_TYPE_NONE),
        ("mamba", True, False, 0, llama_cpp.LLAMA_ROPE_TYPE_NONE),
        ("mamba2", True, False, 0, llama_cpp.LLAMA_ROPE_TYPE_NONE),
        ("lfm2", False, True, 0, llama_cpp.LLAMA_ROPE_TYPE_NEOX),
        ("jamba", False, True, 0, llama_cpp.LLAMA_ROPE_TYPE_NONE),
        ("lfm2swa", False, True, 32, llama_cpp.LLAMA_ROPE_TYPE_NEOX),
    ],
)
def test_kind_of_memory(
    made: Maker, *, architecture: str, recurrent: bool, hybrid: bool, window: int, rope: int
) -> None:
    with opened(made(architecture)) as model:
        assert llama_cpp.llama_model_is_recurrent(model) is recurrent
        assert llama_cpp.llama_model_is_hybrid(model) is hybrid
        assert llama_cpp.llama_model_n_swa(model) == window
        assert llama_cpp.llama_model_rope_type(model) == rope
        assert llama_cpp.llama_model_n_ctx_train(model) == 2048
        assert llama_cpp.llama_model_n_layer(model) == 4


@each_architecture
def test_text_round_trip(made: Maker, architecture: str) -> None:
    with opened(made(architecture)) as model:
        for text in TEXTS:
            assert detokenize(model, tokenize(model, text)).decode() == text


def test_control_tokens(made: Maker) -> None:
    with opened(made("llama")) as model:
        assert tokenize(model, "<|im_start|><|im_end|>", special=True) == [IM_START, IM_END]
        assert IM_START not in tokenize(model, "<|im_start|>")
        vocab = llama_cpp.llama_model_get_vocab(model)
        assert llama_cpp.llama_vocab_n_tokens(vocab) == N_VOCAB
        control = [t for t in range(N_VOCAB) if llama_cpp.llama_vocab_is_control(vocab, t)]
        assert control == list(CONTROL_TOKENS)
        assert llama_cpp.llama_vocab_is_eog(vocab, IM_END)


@each_architecture
@pytest.mark.parametrize("dtype", ["f32", "f16"])
def test_same_arguments_give_the_same_bytes(
    tmp_path: Path, architecture: str, dtype: DType
) -> None:
    one = make_model(tmp_path / "one.gguf", architecture, dtype=dtype).read_bytes()
    two = make_model(tmp_path / "two.gguf", architecture, dtype=dtype).read_bytes()
    assert one == two


def test_another_seed_is_a_fine_tune(made: Maker) -> None:
    base, tuned = made("llama"), made("llama", seed=1)
    assert base.stat().st_size == tuned.stat().st_size
    texts = []
    for path in (base, tuned):
        with opened(path) as model, context_of(model) as context:
            texts.append(greedy(context, PROMPT, 10))
    assert texts[0] != texts[1]


@pytest.mark.parametrize("kv_type", [llama_cpp.GGML_TYPE_Q8_0, llama_cpp.GGML_TYPE_Q4_0])
@pytest.mark.parametrize("architecture", ["llama", "qwen2vl", "gemma3", "gemma2", "lfm2", "jamba"])
def test_heads_of_32_take_a_quantised_cache(made: Maker, architecture: str, kv_type: int) -> None:
    path = made(architecture, head_dim=32)
    with opened(path) as model, context_of(model, kv_type=kv_type) as context:
        assert len(set(greedy(context, PROMPT, 20))) >= 8


def test_ends_lets_an_answer_end(made: Maker) -> None:
    def most_likely_control_token(path: Path) -> float:
        with opened(path) as model, context_of(model) as context:
            return float(decode(context, PROMPT)[CONTROL_TOKENS].max())

    ends = most_likely_control_token(made("llama", ends=True))
    assert ends == pytest.approx(10 * most_likely_control_token(made("llama")), rel=1e-3)


def test_chat_template(made: Maker) -> None:
    with opened(made("llama", chat_template=CHATML)) as model:
        stored = llama_cpp.llama_model_chat_template(model, None).decode()
    with opened(made("llama")) as model:
        assert llama_cpp.llama_model_chat_template(model, None) is None
    assert stored == CHATML
    formatter = Jinja2ChatFormatter(stored, eos_token="<|im_end|>", bos_token="<|im_start|>")
    messages: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert formatter(messages=messages).prompt == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_vocabulary_only(tmp_path: Path) -> None:
    path = make_vocabulary_only(tmp_path / "vocabulary.gguf", chat_template=CHATML)
    assert path.read_bytes() == make_vocabulary_only(path, chat_template=CHATML).read_bytes()
    with opened(path, vocab_only=True) as model:
        for text in TEXTS:
            assert detokenize(model, tokenize(model, text)).decode() == text
    params = llama_cpp.llama_model_default_params()
    assert not llama_cpp.llama_model_load_from_file(str(path).encode(), params)


def test_arguments_that_cannot_work(tmp_path: Path) -> None:
    path = tmp_path / "none.gguf"
    with pytest.raises(ValueError, match="253 to 49152"):
        make_model(path, "llama", n_vocab=252)
    with pytest.raises(ValueError, match="jamba needs 2 layers"):
        make_model(path, "jamba", n_layer=1)
    with pytest.raises(KeyError):
        make_model(path, "gpt5")
    assert not path.exists()


@pytest.mark.parametrize("n_vocab", [253, 300, 2000])
def test_other_vocabulary_sizes(tmp_path: Path, n_vocab: int) -> None:
    vocabulary = cut_vocabulary(n_vocab)
    assert len(vocabulary.tokens) == len(vocabulary.types) == n_vocab
    assert len(vocabulary.merges) == n_vocab - 252
    path = make_model(tmp_path / "model.gguf", "llama", n_vocab=n_vocab, n_layer=1)
    with opened(path) as model:
        assert detokenize(model, tokenize(model, TEXTS[1])).decode() == TEXTS[1]
