"""What becomes of a caption between its author's file and the dataset."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from t2i_shards.pipeline.dataset.left_out import read_left_out, read_notes
from t2i_shards.pipeline.errors import Drop
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.publish.survey import caption_problem
from t2i_shards.pipeline.shards.sample_info import read_info
from t2i_shards.pipeline.sources.captions import (
    LONGEST,
    MAX_BYTES,
    SHORTENED,
    clean_caption,
    clean_lines,
    decode_file,
    decode_text,
)
from t2i_shards.pipeline.sources.folder import FolderSource
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from tests.conftest import CASES
from tests.faults.toys import fill
from tests.pipeline.sources.test_folder import png

READ = {
    "bom": ["a caption with BOM"],
    "cp1252": ["it\u2019s \u201cquoted\u201d"],
    "crlf": ["first line", "second line"],
    "emoji": ["\U0001f600 caf\u00e9 \u65e5\u672c"],
    "latin1": ["caf\u00e9 cr\u00e8me"],
    "multi": ["1girl, solo", "long hair"],
    "nbsp": ["a b"],
    "oldmac": ["one", "two"],
    "tab": ["a b"],
    "utf16": ["a dog on grass"],
    "bidi": ["a\u202eb"],
    "spaces": [],
    "zwsp": [],
    "ctrl": None,
    "nul": None,
    "long": ["x" * LONGEST],
}
"""Kind of file -> its captions, None where it cannot be read."""
FILES = {
    "bom": b"\xef\xbb\xbfa caption with BOM\r\n",
    "cp1252": b"it\x92s \x93quoted\x94",
    "crlf": b"first line\r\nsecond line\r\n",
    "emoji": "\U0001f600 caf\u00e9 \u65e5\u672c".encode(),
    "latin1": b"caf\xe9 cr\xe8me",
    "multi": b"1girl, solo\n\nlong hair",
    "nbsp": "a\u00a0b".encode(),
    "oldmac": b"one\rtwo",
    "tab": b"a\tb",
    "utf16": "\ufeffa dog on grass\r\n".encode("utf-16-le"),
    "bidi": "a\u202eb".encode(),
    "spaces": b"   \n",
    "zwsp": "\u200b".encode(),
    "ctrl": b"a\x01b \x1b[31mred",
    "nul": b"a\x00b",
    "long": b"x" * 100_000,
    "utf16-be": "\ufeffa dog".encode("utf-16-be"),
    "utf16-odd": "\ufeffa dog".encode("utf-16-le")[:-1],
    "utf32": "a dog".encode("utf-32"),
    "utf16-unmarked": "a dog".encode("utf-16-le"),
    "undefined": b"a\x81b",
    "huge": b"x " * MAX_BYTES,
}


def read(data: bytes) -> list[str] | None:
    try:
        return clean_lines(decode_file(data), Counter())
    except Drop as drop:
        return None if drop.reason == "caption not readable" else [drop.reason]


@pytest.mark.parametrize("kind", FILES)
def test_the_text_as_its_author_wrote_it_or_a_named_drop(kind: str) -> None:
    assert read(FILES[kind]) == {**READ, "utf16-be": ["a dog"], "utf16-unmarked": ["a dog"]}.get(kind)


@pytest.mark.parametrize("text", ["a", "a dog\n", "Caf\u00e9, \u4e2d\n", "image,text\n"])
def test_utf16_without_a_mark_is_known_by_its_nuls(text: str) -> None:
    assert decode_text(text.encode("utf-16-le")) == decode_text(text.encode("utf-16-be")) == text


@pytest.mark.parametrize(
    "data", [b"abc\0", b"\0abc", b"a\0b", b"ab\0cd\0ef", b"\0" * 8, "a dog".encode("utf-32-le")]
)
def test_stray_nuls_do_not_make_it_utf16(data: bytes) -> None:
    assert decode_text(data) == data.decode()


@pytest.mark.parametrize("kind", READ)
def test_the_collected_files(kind: str) -> None:
    if not CASES.is_dir():
        pytest.skip("needs ../shared/cases, which is not beside this checkout")
    assert read((CASES / f"folder/captions/cap_{kind}.txt").read_bytes()) == READ[kind]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("word " * 1000, "word " * 818 + "word"),
        ("x" * 4095 + " y", "x" * 4095),
        ("x" * 4094 + " y", "x" * 4094 + " y"),
        ("x" * 4096, "x" * 4096),
        ("x" * 4097, "x" * 4096),
        ("x" * 4096 + " and more", "x" * 4096),
    ],
)
def test_a_long_caption_is_cut_at_a_word_and_counted(text: str, kept: str) -> None:
    notes = Counter[str]()
    assert clean_caption(text, notes) == kept
    assert notes[SHORTENED] == (kept != text.strip())
    assert clean_caption(kept, Counter()) == kept


def test_what_ingest_takes_publish_takes(tmp_path: Path) -> None:
    """Any text of a file, every separator and format character among them."""
    folder = tmp_path / "in"
    folder.mkdir()
    texts = {name: data for name, data in FILES.items() if read(data)}
    texts["all"] = "".join(
        chr(c) for c in range(1, 0x3000) if unicodedata.category(chr(c)) not in ("Cc", "Cs")
    ).encode()
    for name, data in texts.items():
        (folder / f"{name}.txt").write_bytes(data)
        (folder / f"{name}.png").write_bytes(png())
    source = FolderSource(str(folder))
    dataset = plan_dataset(str(tmp_path / "out"), source, Geometry(size=64), 100)
    [made] = fill(dataset, source)
    assert made.receipts["images"].samples == len(texts)
    for sample in dataset.load("images", 0):
        assert caption_problem(sample, read_info(sample)) is None
    assert read_notes(dataset.store) == {SHORTENED: 2}
    assert read_left_out(dataset.store) == {}
