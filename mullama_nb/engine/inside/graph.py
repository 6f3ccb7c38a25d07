"""What llama.cpp computes: the nodes of its graphs and their data, seen while it computes them.

llama.cpp asks an evaluation callback before each node whether to stop behind it, and calls it again
when the node was computed. A node's sources still hold their data then; a little later other nodes
may be computed in the same place.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import gguf
import llama_cpp
import numpy as np
import numpy.typing as npt
from llama_cpp._ctypes_extensions import load_shared_library

from ...errors import ContextError

__all__ = ["Floats", "GraphWatch", "Step", "Tensor"]

Floats: TypeAlias = npt.NDArray[np.float32]

_PLAIN = {
    gguf.GGMLQuantizationType.F32: np.float32,
    gguf.GGMLQuantizationType.F16: np.float16,
}
_INPUT = 1  # GGML_TENSOR_FLAG_INPUT


class _Fields(ctypes.Structure):
    """``struct ggml_tensor``, up to its name (``ggml.h``)."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_int32 * 16),
        ("flags", ctypes.c_int32),
        ("src", ctypes.c_void_p * 10),
        ("view_src", ctypes.c_void_p),
        ("view_offs", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("name", ctypes.c_char * 64),
    )


@functools.cache
def _ggml() -> Any:
    """The library that has ggml's functions for tensors."""
    library = llama_cpp.llama_cpp._lib
    if not hasattr(library, "ggml_backend_tensor_get"):  # elsewhere than on Linux and macOS
        library = load_shared_library("ggml-base", Path(library._name).parent)
    address, size = ctypes.c_void_p, ctypes.c_size_t
    for name, result, arguments in (
        ("ggml_get_name", address, [address]),
        ("ggml_op_name", ctypes.c_char_p, [ctypes.c_int]),
        ("ggml_nbytes", size, [address]),
        ("ggml_backend_tensor_get", None, [address, address, size, size]),
        ("ggml_backend_tensor_set", None, [address, address, size, size]),
        ("ggml_backend_buffer_is_host", ctypes.c_bool, [address]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


@functools.cache
def _native_widening() -> Any:
    """The CPU's own way from f16 to float32, several times as fast as numpy's; None without it."""
    function = getattr(llama_cpp.llama_cpp._lib, "ggml_cpu_fp16_to_fp32", None)
    if function is not None:
        function.restype = None
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    return function


def _widened(halves: npt.NDArray[np.float16]) -> Floats:
    widen = _native_widening()
    if widen is None:
        return halves.astype(np.float32)
    floats = np.empty(len(halves), np.float32)
    widen(halves.ctypes.data, floats.ctypes.data, len(halves))
    return floats


@functools.cache
def _op(number: int) -> str:
    return str(_ggml().ggml_op_name(number).decode())


@dataclass(frozen=True)
class Tensor:
    """A tensor of the graph that is being computed.

    Attributes
    ----------
    address : int
    """

    address: int

    @property
    def _fields(self) -> _Fields:
        return _Fields.from_address(self.address)

    @property
    def name(self) -> str:
        """Its name; llama.cpp ends those within a layer in ``-`` and the layer's number."""
        return bytes(self._fields.name).decode("utf-8", "replace")

    @property
    def op(self) -> str:
        """What it is computed by, such as ``MUL_MAT``; ``NONE`` for weights and inputs."""
        return _op(self._fields.op)

    @property
    def kind(self) -> gguf.GGMLQuantizationType:
        """The type of its numbers.

        Raises
        ------
        ContextError
            When it is not known here.
        """
        try:
            return gguf.GGMLQuantizationType(self._fields.type)
        except ValueError:
            raise self._unreadable() from None

    def _unreadable(self) -> ContextError:
        return ContextError(
            f"{self.name!r} is of ggml's type {self._fields.type}, which cannot be read here"
        )

    @property
    def is_input(self) -> bool:
        """Whether llama.cpp fills it in from the batch or the cells."""
        return bool(self._fields.flags & _INPUT)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape in numpy's order, always of four axes."""
        return tuple(self._fields.ne)[::-1]

    @property
    def sources(self) -> tuple[Tensor | None, ...]:
        """What it is computed from, in ggml's order."""
        return tuple(Tensor(address) if address else None for address in self._fields.src)

    @property
    def parameters(self) -> Floats:
        """The operation's parameters, as floats."""
        return np.frombuffer(bytes(self._fields.op_params), np.float32)

    def check_layout(self) -> None:
        """Check that tensors are laid out as is known here.

        Raises
        ------
        ContextError
            When llama.cpp finds its name elsewhere.
        """
        if _ggml().ggml_get_name(self.address) != self.address + _Fields.name.offset:
            raise ContextError(
                "this build of llama.cpp lays its tensors out in another way than is known here, "
                "so nothing can be read from its graphs; use the version of llama-cpp-python that "
                "the package asks for"
            )

    def read(self) -> Floats:
        """Return its values as float32, dequantised where need be, in numpy's order.

        Raises
        ------
        ContextError
            When it is of a type that cannot be read.
        """
        kind, data = self.kind, self._bytes()
        shape, strides = self.shape, tuple(self._fields.nb)[::-1]
        if kind in _PLAIN:  # widened as it lies there, with what is between heads
            plain = data.view(_PLAIN[kind])
            flat = plain.copy() if plain.dtype == np.float32 else _widened(plain)
            steps = tuple(stride // plain.itemsize * flat.itemsize for stride in strides)
            return np.ndarray(shape, np.float32, flat, strides=steps)
        width, n_bytes = gguf.GGML_QUANT_SIZES[kind]
        # Rows of blocks as bytes; other heads may lie between them.
        rows: npt.NDArray[np.uint8] = np.ndarray(
            (*shape[:-1], shape[-1] // width * n_bytes), np.uint8, data, strides=(*strides[:-1], 1)
        )
        try:
            # As one row, which takes a tenth of the time.
            values: Floats = gguf.dequantize(np.ascontiguousarray(rows).reshape(1, -1), kind)
            return values.reshape(shape)
        except NotImplementedError:
            raise self._unreadable() from None

    def _bytes(self) -> npt.NDArray[np.uint8]:
        """Its bytes with all that lies between them; where they are, if numpy can see them."""
        ggml, fields = _ggml(), self._fields
        n_bytes = ggml.ggml_nbytes(self.address)
        owner = _Fields.from_address(fields.view_src) if fields.view_src else fields
        if owner.buffer and ggml.ggml_backend_buffer_is_host(owner.buffer):
            return np.ctypeslib.as_array((ctypes.c_uint8 * n_bytes).from_address(fields.data))
        data = np.empty(n_bytes, np.uint8)
        ggml.ggml_backend_tensor_get(self.address, data.ctypes.data, 0, n_bytes)
        return data

    def write(self, values: Floats) -> None:
        """Overwrite its values, which lie one behind the other.

        Raises
        ------
        ContextError
            When they are others in number or kind.
        """
        data = np.ascontiguousarray(values, np.float32)
        is_plain = self.kind == gguf.GGMLQuantizationType.F32
        if not is_plain or _ggml().ggml_nbytes(self.address) != data.nbytes:
            raise ContextError(f"{self.name!r} does not hold {data.size} numbers in float32")
        _ggml().ggml_backend_tensor_set(self.address, data.ctypes.data, 0, data.nbytes)


@dataclass(frozen=True)
class Step:
    """One node of a graph, as it stood there before it was computed.

    Attributes
    ----------
    name, op : str
    shape : tuple of int
        In numpy's order.
    sources : tuple of int
        Which earlier steps it is computed from.
    inputs : tuple of str
        The names of inputs that it is computed from.
    has_mask : bool
        Whether it has a second source, as a softmax of attention has.
    """

    name: str
    op: str
    shape: tuple[int, ...]
    sources: tuple[int, ...]
    inputs: tuple[str, ...]
    has_mask: bool


def _original(name: str) -> str | None:
    """The name of what a tensor is a copy of: between devices ``CUDA0#embd#0`` is one of embd."""
    found = re.fullmatch(r"[^#]+#(.+)#\d+", name)
    return found[1] if found else None


class GraphWatch:
    """An evaluation callback that watches when it is told to; otherwise it lets everything pass.

    Attributes
    ----------
    callback
        For llama.cpp; it must live as long as the context that was made with it.
    """

    def __init__(self) -> None:
        self.callback = llama_cpp.ggml_backend_sched_eval_callback(self._called)
        self._wants: Callable[[Tensor], bool] | None = None
        self._see: Callable[[Tensor], object] | None = None
        self._failure: BaseException | None = None

    def _called(self, address: int, ask: bool, _: object) -> bool:
        # Nothing may be raised through C.
        wants, see = self._wants, self._see
        try:
            if ask:
                return wants is not None and wants(Tensor(address))
            if see is not None:
                see(Tensor(address))
        except BaseException as error:
            self._failure, self._wants, self._see = error, None, None
        return not ask

    @contextlib.contextmanager
    def watching(
        self, wants: Callable[[Tensor], bool], see: Callable[[Tensor], object]
    ) -> Iterator[None]:
        """Watch what is evaluated in the block; what a function raises is raised at its end.

        Parameters
        ----------
        wants : callable
            Called with each tensor before it is computed, in order; returns whether to see it.
        see : callable
            Called with those when they were computed.
        """
        self._wants, self._see, self._failure = wants, see, None
        try:
            yield
        finally:
            self._wants = self._see = None
            failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    @contextlib.contextmanager
    def recording(self) -> Iterator[list[Step]]:
        """List the steps of what is evaluated in the block."""
        steps: list[Step] = []
        places: dict[int | str | None, int] = {}  # by address, and by name

        def wants(tensor: Tensor) -> bool:
            if not steps:
                tensor.check_layout()
            sources = [source for source in tensor.sources if source is not None]
            found = [places.get(s.address, places.get(_original(s.name))) for s in sources]
            steps.append(
                Step(
                    tensor.name,
                    tensor.op,
                    tensor.shape,
                    tuple(place for place in found if place is not None),
                    tuple(s.name for s in sources if s.address not in places and s.is_input),
                    tensor.sources[1] is not None,
                )
            )
            places[tensor.address] = places[tensor.name] = len(steps) - 1
            return False

        with self.watching(wants, lambda _: None):
            yield steps
