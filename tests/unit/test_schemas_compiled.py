"""The compiled codec's parts: generated text, bit tricks, and that the fast kernels are the ones at work."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numba import njit

from schemas.address import NO_ORIGIN
from schemas.catalogue import EVENTS
from schemas.codec import read_only
from schemas.compiled import bits, fast, generate, layout, read
from schemas.declare import Event, Field
from schemas.events import BOOK_DELTA, BOOK_SNAPSHOT, RAW_FRAME, TRADE
from schemas.frame import codec_of

WORDS = [0, 1, 0x80, 0x7F, 1 << 63, (1 << 64) - 1, 0x8080808080808080, 0x7F7F7F7F7F7F7F7F, 0x0123456789ABCDEF]


def words() -> list[np.uint64]:
    rng = np.random.default_rng(1)
    return [
        np.uint64(word) for word in [*WORDS, *(int(rng.integers(2**63)) << int(rng.integers(2)) for _ in range(200))]
    ]


def test_generated_files_are_what_the_generator_writes() -> None:
    """If this fails: `python -m schemas.compiled.generate`."""
    texts = generate.texts()
    assert {path.name for path in texts} >= {"trade.py", "book_delta.py", "quote.py", "read.py", "write.py"}
    for path, text in texts.items():
        assert path.read_text() == text, path.name


@njit
def machine(data, word):  # type: ignore[no-untyped-def]
    """Every machine primitive on one word and 64 bytes."""
    out = np.zeros(16, dtype=np.uint8)
    bits.copy_bytes(bits.borrowed(data), 7, out, 1, 13)
    bits.store64(out, 3, word)
    bits.prefetch(data, 1 << 20)
    counts = bits.trailing_zeros(word), bits.leading_zeros(word), bits.count_ones(word)
    return out, counts, bits.load64(data, 5), bits.ends64(data, 1), bits.gather7(word), bits.spread7(word)


@njit
def plain(data, word):  # type: ignore[no-untyped-def]
    """The same by loops."""
    out = np.zeros(16, dtype=np.uint8)
    bits.copy_bytes_plain(bits.borrowed_plain(data), 7, out, 1, 13)
    bits.store64_plain(out, 3, word)
    counts = bits.trailing_zeros_plain(word), bits.leading_zeros_plain(word), bits.count_ones_plain(word)
    loaded = bits.load64_plain(data, 5), bits.ends64_plain(data, 1)
    return out, counts, *loaded, bits.gather7_shifts(word), bits.spread7_shifts(word)


def test_machine_words_and_plain_loops_are_the_same() -> None:
    rng = np.random.default_rng(2)
    for word in words():
        data = rng.integers(0, 256, 80, dtype=np.uint8)
        found, expected = machine(data, word), plain(data, word)
        assert found[0].tolist() == expected[0].tolist()
        assert found[1] == expected[1]
        # Only 56 bits of a word can be spread; above them the two ways differ and no caller may come there.
        assert [int(part) for part in found[2:5]] == [int(part) for part in expected[2:5]]
        if int(word) >> 56 == 0:
            assert int(found[5]) == int(expected[5])


def test_bits_mean_what_they_say() -> None:
    assert int(bits.gather7_shifts(np.uint64(0xFF_80_81_7F))) == 0x7F << 21 | 0 << 14 | 1 << 7 | 0x7F
    for word in words():
        low = np.uint64(int(word) & (2**56 - 1))
        assert int(bits.gather7_shifts(bits.spread7_shifts(low))) == int(low)
        assert int(bits.trailing_zeros_plain(word)) == (int(word) & -int(word)).bit_length() - 1 + 65 * (int(word) == 0)
        assert int(bits.leading_zeros_plain(word)) == 64 - int(word).bit_length()
        assert int(bits.count_ones_plain(word)) == int(word).bit_count()


def test_portable_bits_are_taken_without_fast_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bits, "CHECKED", False)
    monkeypatch.setattr(bits.config, "CPU_NAME", None)
    monkeypatch.setattr(bits.config, "CPU_FEATURES", None)
    features = {"bmi2": True}
    binding: Any = vars(bits)["binding"]
    monkeypatch.setattr(binding, "get_host_cpu_features", lambda: features)
    monkeypatch.setattr(binding, "get_host_cpu_name", lambda: "znver3")
    assert bits.has_fast_pext()
    monkeypatch.setattr(binding, "get_host_cpu_name", lambda: "znver1")
    assert not bits.has_fast_pext()
    monkeypatch.setattr(binding, "get_host_cpu_name", lambda: "apple-m1")
    features.clear()
    assert not bits.has_fast_pext()
    features["bmi2"] = True
    monkeypatch.setattr(bits.config, "CPU_NAME", "generic")
    assert not bits.has_fast_pext()


@pytest.mark.parametrize("event", generate.GENERATED, ids=lambda event: event.name)
def test_ordinary_rows_are_taken_by_the_fast_kernels(event: Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generated kernel that handed every row to the complete one would be right, and slow: nobody would see it."""
    rows = ordinary_rows(event, 40)
    codec = codec_of(event)
    data = read_only(codec.encode(1, 1, 1, NO_ORIGIN, rows))
    codec.decode(data)  # compile before the parts are replaced
    module: Any = importlib.import_module(f"schemas.compiled.{generate.module_name(event)}")
    interpret(module, monkeypatch)
    read_row, write_row = module.read_odd_row, module.write_odd_row
    handed: list[str] = []

    def counted(name: str, kernel: Any) -> Any:
        def call(*arguments: Any) -> Any:
            handed.append(name)
            return kernel(*arguments)

        return call

    monkeypatch.setattr(module, "read_odd_row", counted("read", read_row))
    monkeypatch.setattr(module, "write_odd_row", counted("write", write_row))
    heads = np.zeros((1, layout.BASE + layout.BASES_MAX), dtype=np.int64)
    assert read.read_only_head(data, heads, codec._facts) == 40
    found = event.empty(40)
    target = found.view(np.uint64).reshape(40, -1)
    with np.errstate(over="ignore"):
        used = module.decode_frames.py_func(data, heads, codec._program, target, np.zeros(0, dtype=np.uint8))
        assert used == 0
        assert found.tobytes() == rows.tobytes()
        assert handed.count("read") <= 5  # the last ones: less than READ_AHEAD bytes follow
        out = np.zeros(8000, dtype=np.uint8)
        words_of = codec._words_of(rows)
        pool = read_only(b"")
        size = module.encode_frame.py_func(words_of, codec._program, codec._facts, codec._reserved, heads, pool, out, 0)
    assert out[:size].tobytes() == data.tobytes()
    assert handed.count("write") == 0


def interpret(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the functions of a generated module run as plain Python, down to the bits."""
    plain_bits = {
        name: getattr(bits, f"{name}_plain").py_func
        for name in ("borrowed", "ends64", "load64", "store64", "trailing_zeros", "leading_zeros", "prefetch")
    }
    plain_bits |= {"gather7": bits.gather7_shifts.py_func, "spread7": bits.spread7_shifts.py_func}
    for name, function in plain_bits.items():
        for target in (module, fast):
            if hasattr(target, name):
                monkeypatch.setattr(target, name, function)
    for name in ("read_value", "write_value", "zigzag_bits", "has_long_varint", "bases_are_near"):
        monkeypatch.setattr(module, name, getattr(fast, name).py_func)


def ordinary_rows(event: Event, count: int) -> Any:
    """Times, prices and ids near each other, as on a feed."""
    rng = np.random.default_rng(5)
    rows = event.empty(count)
    for field in event.fields:
        if field.kind == "i64":
            start = 1_723_161_256_322_000_000 if field.name.endswith("_ns") else 6_180_030_000_000
            rows[field.name] = start + np.cumsum(rng.integers(0, 10**7, count)) * (1 if field.based else 0)
        elif field.kind == "u32":
            rows[field.name] = rng.integers(0, 2**32, count)
        elif field.kind == "enum":
            rows[field.name] = rng.integers(0, len(field.symbols or ()), count)
    return rows


def test_rows_wide_or_odd_cannot_have_a_fast_kernel() -> None:
    for event, reason in ((RAW_FRAME, "heap columns"), (BOOK_SNAPSHOT, "arrays")):
        with pytest.raises(AssertionError, match=reason):
            generate.plan_of(event)
    with pytest.raises(AssertionError, match="no lanes"):
        generate.plan_of(Event("Bare", 98, 1, "", (Field("a", "i64", ""),)))


def test_columns_that_straddle_words_are_refused() -> None:
    fields = (Field("a", "u32", ""), Field("b", "i64", ""), Field("reserved", "u32", ""))
    with pytest.raises(AssertionError, match=r"Odd\.b straddles words"):
        layout.program_of(Event("Odd", 98, 1, "", fields))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_program_covers_every_bit_of_the_row_once(event: Event) -> None:
    covered = np.zeros(event.dtype.itemsize // 8, dtype=object)
    for line in layout.program_of(event).tolist():
        code, word, shift, _, _, count, mask = line
        for k in range(max(count, 1)):
            bits_of = mask or ((1 << 32) - 1 if code == layout.Code.I32 else (1 << 64) - 1)
            if code >= layout.Code.TEXT:
                assert not covered[word] >> shift & 0xFFFFFFFF
                covered[word] |= 0xFFFFFFFF << shift
                word, shift, bits_of = word + (shift >> 5), shift ^ 32, 0xFFFFFFFF
            assert not (covered[word + k] >> shift) & bits_of
            covered[word + k] |= bits_of << shift
    covered |= layout.reserved_masks(event).astype(object)
    assert covered.tolist() == [2**64 - 1] * len(covered)


def test_changed_callee_changes_the_digest(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for path in generate.FOLDER.glob("*.py"):
        (tmp_path / path.name).write_text(path.read_text())
    monkeypatch.setattr(generate, "FOLDER", tmp_path)
    text = (tmp_path / "trade.py").read_text()
    assert generate.digest_line(text) in text
    (tmp_path / "bits.py").write_text((tmp_path / "bits.py").read_text() + "\n# changed\n")
    assert generate.digest_line(text) not in text


def test_generated_kernels_follow_the_declaration() -> None:
    """Another column, another kernel."""
    more = replace(TRADE, fields=(Field("extra", "i64", ""), *TRADE.fields))
    assert generate.source(more) != generate.source(TRADE)
    assert "extra = read_value" in generate.source(more)
    assert {event.name for event in generate.GENERATED} == {"Trade", "BookDelta", "Quote"}
    assert generate.module_name(BOOK_DELTA) == "book_delta"
