from __future__ import annotations

import os
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mullama_nb.engine.files.gguf_file import check_vocabulary, fingerprint, read_gguf
from mullama_nb.engine.files.gguf_parser import ArraySummary
from mullama_nb.engine.files.names import split_names
from mullama_nb.errors import ModelError, ModelFormatError, ModelNotFoundError

TOKENS = [f"token {i}" for i in range(2000)]


def write_gguf(
    path: Path,
    *,
    seed: int = 0,
    tensors: tuple[str, ...] = ("first", "second"),
    extra: Callable[[gguf.GGUFWriter], object] | None = None,
) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_array("general.languages", ["en", "de"])
    writer.add_token_list(TOKENS)
    if extra is not None:
        extra(writer)
    random = np.random.default_rng(seed)
    for name in tensors:
        writer.add_tensor(f"{name}.weight", random.random((33, 64), dtype=np.float32))
        blocks = random.integers(0, 256, (40, 2 * 34), dtype=np.uint8)
        writer.add_tensor(f"{name}.q", blocks, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "model.gguf")


def write_split(folder: Path) -> list[Path]:
    def part(number: int) -> Path:
        def add(writer: gguf.GGUFWriter) -> None:
            writer.add_uint16("split.no", number)
            writer.add_uint16("split.count", 3)

        path = folder / f"m-{number + 1:05}-of-00003.gguf"
        return write_gguf(path, seed=number, tensors=(f"part{number}",), extra=add)

    return [part(number) for number in range(3)]


# --- what a sound file says -------------------------------------------------------------------


def test_metadata_has_the_values_and_long_arrays_are_summarised(model: Path) -> None:
    metadata = read_gguf(model).metadata
    assert metadata["general.architecture"] == "llama"
    assert metadata["llama.block_count"] == 2
    assert metadata["general.languages"] == ["en", "de"]
    assert metadata["tokenizer.ggml.tokens"] == ArraySummary("string", len(TOKENS))


def test_every_kind_of_value_is_read(tmp_path: Path) -> None:
    values = {"float32": 0.5, "float64": 0.1, "bool": True, "string": "größer"}
    for bits in (8, 16, 32, 64):
        values |= {f"uint{bits}": 2**bits - 1, f"int{bits}": -(2 ** (bits - 1))}

    def add(writer: gguf.GGUFWriter) -> None:
        for kind, value in values.items():
            getattr(writer, f"add_{kind}")(f"x.{kind}", value)
            kinds = gguf.GGUFValueType.ARRAY, gguf.GGUFValueType[kind.upper()]
            writer.add_key_value(f"x.{kind}s", [value] * 3, *kinds)

    metadata = read_gguf(write_gguf(tmp_path / "m.gguf", extra=add)).metadata
    for kind, value in values.items():
        assert metadata[f"x.{kind}"] == value
        assert metadata[f"x.{kind}s"] == [value] * 3


def test_tensors_are_where_the_gguf_package_finds_them(model: Path) -> None:
    reader = gguf.GGUFReader(model)
    expected = [
        (t.name, tuple(map(int, t.shape)), t.tensor_type, int(t.data_offset), int(t.n_bytes))
        for t in reader.tensors
    ]
    file = read_gguf(model)
    assert [(t.name, t.shape, t.type, t.offset, t.n_bytes) for t in file.tensors] == expected
    assert file.data_offset == reader.data_offset
    assert file.size == model.stat().st_size
    assert (file.version, file.alignment, file.paths) == (3, 32, (model,))


def test_an_own_alignment_counts(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", extra=lambda writer: writer.add_custom_alignment(512))
    file = read_gguf(path)
    assert file.alignment == 512
    assert all(tensor.offset % 512 == 0 for tensor in file.tensors)


def test_the_demo_model_is_read(smollm2_path: Path) -> None:
    file = read_gguf(smollm2_path)
    assert file.metadata["tokenizer.ggml.tokens"] == ArraySummary("string", 49152)
    assert len(file.tensors) == 272
    assert file.tensors[-1].offset + file.tensors[-1].n_bytes == file.size
    assert not file.is_vocabulary_only


def test_a_file_without_tensors_is_a_vocabulary(tmp_path: Path) -> None:
    file = read_gguf(write_gguf(tmp_path / "vocab.gguf", tensors=()))
    assert file.is_vocabulary_only
    assert "tokenizer.ggml.tokens" in file.metadata


# --- broken files -----------------------------------------------------------------------------


def header(tensors: int, entries: int, rest: bytes = b"", *, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, entries) + rest


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def tensor(name: str, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


U32, F32, STRING, ARRAY = 4, 6, 8, 9


def with_entries(*entries: bytes) -> bytes:
    return header(0, len(entries), b"".join(entries))


def with_array(kind: int, length: int, data: bytes) -> bytes:
    return with_entries(entry("a", ARRAY, struct.pack("<IQ", kind, length) + data))


def with_llama(key: str, kind: int, value: bytes) -> bytes:
    name = entry("general.architecture", STRING, text("llama"))
    return with_entries(name, entry(f"llama.{key}", kind, value))


def with_tensors(*tensors: bytes) -> bytes:
    return header(len(tensors), 0, b"".join(tensors) + bytes(4096))


BROKEN = {
    "only the magic": (b"GGUF", r"header ends at byte 8, and the file at 4\. Fetch it again"),
    "version 1": (header(0, 0, version=1), "version 1, and 2 and 3 can be read"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "too many tensors": (header(2**60, 0), "announces 1,152,921,504,606,846,976 tensors"),
    "too many entries": (header(0, 2**63), "metadata entries, more than it can hold"),
    "cut in a key": (header(0, 1, text("general.name")[:-3]), "entry 0 of its metadata ends at"),
    "endless string": (with_entries(entry("a", STRING, b"\xff" * 8)), "the value of 'a' ends"),
    "endless array": (with_array(U32, 2**40, bytes(99)), "values of 'a', more than it can hold"),
    "endless strings": (with_array(STRING, 2000, b"\xff" * 20_000), "the value of 'a' ends"),
    "cut in strings": (with_array(STRING, 2000, text("x") * 1800), "the value of 'a' ends"),
    "array of arrays": (with_array(ARRAY, 1, bytes(99)), "array of arrays"),
    "unknown kind of value": (with_entries(entry("a", 13, bytes(8))), "'a' is of type 13"),
    "empty key": (with_entries(entry("", U32, bytes(4))), "has the key ''"),
    "key twice": (with_entries(*[entry("a", U32, bytes(4))] * 2), "has the key 'a'"),
    "alignment of 24": (
        with_entries(entry("general.alignment", U32, struct.pack("<I", 24))),
        "general.alignment is 24, not a power of two",
    ),
    "alignment as text": (with_entries(entry("general.alignment", STRING, text("8"))), "is '8'"),
    "no layers": (with_llama("block_count", U32, bytes(4)), "announces 0 layers"),
    "too many layers": (with_llama("block_count", U32, b"\xff" * 4), "4,294,967,295 layers"),
    "epsilon is not a number": (
        with_llama("attention.layer_norm_rms_epsilon", F32, b"\xff" * 4),
        "layer_norm_rms_epsilon is nan",
    ),
    "tensor twice": (
        with_tensors(tensor("a", (8,)), tensor("a", (8,), offset=32)),
        "the tensor name 'a' appears twice",
    ),
    "long tensor name": (with_tensors(tensor("a" * 64, (8,))), "longer than 63 bytes"),
    "five dimensions": (with_tensors(tensor("a", (8,) * 5)), "'a' has 5 dimensions"),
    "unknown tensor type": (with_tensors(tensor("a", (8,), 99)), "'a' is of type 99"),
    "row of part of a block": (
        with_tensors(tensor("a", (33,), 8)),
        r"'a' has the shape \(33,\), and rows of 32 values",
    ),
    "no values": (with_tensors(tensor("a", (32, 0))), r"the shape \(32, 0\)"),
    "more values than bytes": (
        with_tensors(tensor("a", (2**62, 2**62))),
        r"the tensor 'a' ends at byte .*\. Fetch it again",
    ),
    "offset beyond the end": (
        with_tensors(tensor("a", (8,), offset=2**63)),
        "'a' begins at byte 9,223,372,036,854,775,808 of the data",
    ),
    "overlapping tensors": (
        with_tensors(tensor("a", (8,)), tensor("b", (8,))),
        "'b' begins at byte 0 of the data, and the one before it ends at 32",
    ),
}


@pytest.mark.parametrize(("data", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_refused_in_words(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(data)
    with pytest.raises(ModelFormatError, match=message) as caught:
        read_gguf(path)
    assert "broken.gguf" in str(caught.value)


def test_a_file_cut_in_its_tensors_names_the_first_that_is_not_whole(model: Path) -> None:
    file = read_gguf(model)
    os.truncate(model, file.tensors[2].offset + 5)
    with pytest.raises(
        ModelFormatError, match=rf"'second.weight' .*{file.tensors[2].offset + 5:,}"
    ):
        read_gguf(model)


LOOKALIKES = {
    "empty": (b"", "it is empty"),
    "zeros": (bytes(1000), "begins with zeros"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
    "web page": (b"\n<!DOCTYPE html><html>", "web page"),
    "ggjt": (b"tjgg" + bytes(60), "before GGUF"),
    "safetensors": (struct.pack("<Q", 300) + b'{"__metadata__":{', "safetensors file.*convert_hf"),
    "pytorch": (b"PK\x03\x04" + bytes(60), "PyTorch checkpoint"),
    "pickle": (b"\x80\x02}q\x00(X" + bytes(60), "PyTorch checkpoint"),
    "other": (b"Once upon a time", "begins with b'Once'"),
}


@pytest.mark.parametrize(("data", "message"), LOOKALIKES.values(), ids=LOOKALIKES.keys())
def test_what_is_no_gguf_file_is_recognised(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    with pytest.raises(ModelFormatError, match=f"model.gguf is not a GGUF file: .*{message}"):
        read_gguf(path)


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    for look in read_gguf, fingerprint:
        with pytest.raises(ModelNotFoundError, match="there is no file"):
            look(tmp_path / "none.gguf")


def test_a_folder_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        read_gguf(tmp_path)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_gguf(tmp_path_factory.mktemp("small") / "m.gguf").read_bytes()


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(
    data: st.DataObject, small: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Most of a file is tensors and vocabulary, and most of what can go wrong is elsewhere.
    interesting = st.one_of(
        st.integers(0, 250),
        st.integers(small.rindex(b"token 1999"), small.rindex(b"second.q") + 60),
        st.integers(0, len(small) - 1),
    )
    damaged = bytearray(small)
    for position in data.draw(st.lists(interesting, max_size=4)):
        damaged[position] = data.draw(st.sampled_from([0, 1, 4, 8, 9, 127, 255]))
    path = tmp_path_factory.getbasetemp() / "damaged.gguf"
    path.write_bytes(damaged[: data.draw(st.none() | interesting)])
    try:
        file = read_gguf(path)
        assert len(fingerprint(path)) == 32
    except ModelFormatError:
        return
    assert all(t.offset + t.n_bytes <= file.size for t in file.tensors)


# --- split models -----------------------------------------------------------------------------


def test_split_names() -> None:
    assert split_names("a/m-00002-of-00003.gguf") == [
        "a/m-00001-of-00003.gguf",
        "a/m-00002-of-00003.gguf",
        "a/m-00003-of-00003.gguf",
    ]
    assert split_names("model.gguf") == ["model.gguf"]


def test_a_split_model_is_read_as_one(tmp_path: Path) -> None:
    paths = write_split(tmp_path)
    file = read_gguf(paths[0])
    assert file.paths == tuple(paths)
    assert file.size == sum(path.stat().st_size for path in paths)
    assert [t.name for t in file.tensors[::2]] == ["part0.weight", "part1.weight", "part2.weight"]
    assert [t.path for t in file.tensors[::2]] == paths


def test_missing_parts_are_named(tmp_path: Path) -> None:
    paths = write_split(tmp_path)
    paths[1].unlink()
    with pytest.raises(ModelFormatError, match=r"first of 3 files.*: m-00002-of-00003\.gguf$"):
        read_gguf(paths[0])


def test_a_later_part_points_to_the_first(tmp_path: Path) -> None:
    paths = write_split(tmp_path)
    with pytest.raises(ModelFormatError, match=r"not the first .*: give m-00001-of-00003\.gguf"):
        read_gguf(paths[2])


def test_a_renamed_part_is_told_its_name(tmp_path: Path) -> None:
    renamed = write_split(tmp_path)[0].rename(tmp_path / "renamed.gguf")
    with pytest.raises(ModelFormatError, match="one of 3 files"):
        read_gguf(renamed)


def test_parts_of_two_models_do_not_mix(tmp_path: Path) -> None:
    paths = write_split(tmp_path)
    shutil.copy(paths[0], paths[1])
    with pytest.raises(ModelFormatError, match="another model"):
        read_gguf(paths[0])


def test_a_whole_model_may_be_named_like_a_part(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m-00002-of-00003.gguf")
    assert read_gguf(path).paths == (path,)


# --- fingerprints -----------------------------------------------------------------------------


def change(path: Path, position: int) -> None:
    """Flip a bit, and let the modification time say so whatever the clock's resolution."""
    before = path.stat().st_mtime_ns
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before + 1, before + 1))


def test_copies_have_one_fingerprint(model: Path, tmp_path: Path) -> None:
    copy = shutil.copy(model, tmp_path / "copy.gguf")
    assert fingerprint(copy) == fingerprint(str(model))
    assert re.fullmatch("[0-9a-f]{32}", fingerprint(copy))


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_changed_weights_have_another_fingerprint(model: Path, index: int, where: str) -> None:
    before = fingerprint(model)
    tensor = read_gguf(model).tensors[index]
    inside = {"first": 0, "middle": tensor.n_bytes // 2, "last": tensor.n_bytes - 1}[where]
    change(model, tensor.offset + inside)
    assert fingerprint(model) != before


def test_changed_metadata_have_another_fingerprint(model: Path) -> None:
    before = fingerprint(model)
    change(model, model.read_bytes().index(b"token 42"))
    assert fingerprint(model) != before


def test_every_part_of_a_split_model_counts(tmp_path: Path) -> None:
    paths = write_split(tmp_path)
    before = fingerprint(paths[0])
    change(paths[2], paths[2].stat().st_size - 1)
    assert fingerprint(paths[0]) != before


def test_a_fingerprint_is_computed_once(model: Path) -> None:
    before = fingerprint(model)
    stat = model.stat()
    model.write_bytes(bytes(stat.st_size))
    os.utime(model, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert fingerprint(model) == before


# -- vocabularies ------------------------------------------------------------------------------


def vocabulary_of(path: Path, tokens: list[bytes], model: str = "gpt2") -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    writer.add_token_list(tokens)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


words = st.binary(max_size=3).filter(lambda word: word != b"[")


@given(tokens=st.lists(words | st.sampled_from([b"", b"[EMPTY_1]", b"a\0b", b"\xff"]), min_size=1))
def test_two_equal_tokens_are_refused(
    tmp_path_factory: pytest.TempPathFactory, tokens: list[bytes]
) -> None:
    path = vocabulary_of(tmp_path_factory.getbasetemp() / "words.gguf", tokens)
    read_as = [token.split(b"\0")[0] or b"[EMPTY_%d]" % i for i, token in enumerate(tokens)]
    file = read_gguf(path)
    if len({*read_as}) == len(tokens):
        check_vocabulary(file)
        return
    with pytest.raises(ModelFormatError, match=r"its tokens \d+ and \d+ are both ") as caught:
        check_vocabulary(file)
    first, second = map(int, re.findall(r"tokens (\d+) and (\d+)", str(caught.value))[0])
    assert first < second
    assert read_as[first] == read_as[second]


@pytest.mark.parametrize("n_tokens", [3, 2000])
def test_equal_tokens_are_found_in_long_and_short_vocabularies(
    tmp_path: Path, n_tokens: int
) -> None:
    tokens = [f"token {i}".encode() for i in range(n_tokens)]
    check_vocabulary(read_gguf(vocabulary_of(tmp_path / "a.gguf", tokens)))
    tokens[-1] = tokens[1]
    twice = vocabulary_of(tmp_path / "b.gguf", tokens)
    with pytest.raises(ModelFormatError, match=f"tokens 1 and {n_tokens - 1} are both 'token 1'"):
        check_vocabulary(read_gguf(twice))
    check_vocabulary(read_gguf(vocabulary_of(tmp_path / "c.gguf", tokens, "none")))
