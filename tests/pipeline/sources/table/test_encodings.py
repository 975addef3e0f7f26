"""Tables of text: they are read in the encodings that captions are read in, whatever their files are called."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.sources.base import Source
from t2i_shards.pipeline.sources.laion.source import LaionSource
from t2i_shards.pipeline.sources.table.source import TableSource
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from tests.pipeline.sources.table.test_source import FILES, contents, planned

MARKED = codecs.BOM_UTF8 + b"\n" + codecs.BOM_UTF8 + b'{"image": "gr\xc3\xbcn.png", "text": "\xe2\x82\xac"}\n'
PLAIN = '{"image": "grün.png", "text": "€"}\r\n'


@pytest.mark.parametrize(
    "data",
    [
        MARKED,
        PLAIN.encode("utf-16"),
        codecs.BOM_UTF16_BE + f"\n{PLAIN}".encode("utf-16-be"),
        PLAIN.encode("utf-16-le"),
        f"\n{PLAIN}".encode("utf-16-be"),
        PLAIN.encode("cp1252"),
    ],
)
def test_lines_of_json_are_read_as_captions_are(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "grün.png").write_bytes(FILES[0])
    (tmp_path / "a.jsonl").write_bytes(data)
    rows, left_out = planned(tmp_path)
    assert [(row.key, row.captions) for row in rows] == [("000000000", ("€",))]
    assert TableSource(str(tmp_path)).describe()["rows"] == 1
    assert not left_out
    assert contents(tmp_path, rows, tmp_path / "s") == [FILES[0]]


@pytest.mark.parametrize(("count", "make"), [("rows", TableSource), ("metadata_rows", LaionSource)])
def test_a_dataset_of_a_version_that_counted_the_mark_as_a_row_continues(
    count: str, make: Callable[[str], Source], tmp_path: Path
) -> None:
    table, begun = tmp_path / "a.jsonl", tmp_path / "out" / "dataset.json"
    record = b'{"url": "https://e.org/a.png", "text": "t", "image": "a.png"}\n'
    table.write_bytes(codecs.BOM_UTF8 + b"\n" + record)
    plan_dataset(str(begun.parent), make(str(table)), Geometry(64), 10)
    said = json.loads(begun.read_bytes())
    assert said["source"][count] == 1
    said["source"][count] = 2
    begun.write_text(json.dumps(said))
    continued = plan_dataset(str(begun.parent), make(str(table)), Geometry(64), 10)
    assert continued.description.source[count] == 2
    table.write_bytes(record)
    with pytest.raises(RequestError, match="was made with"):
        plan_dataset(str(begun.parent), make(str(table)), Geometry(64), 10)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_cells_are_read_as_captions_are(ending: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / "grün.png").write_bytes(FILES[0])
    text = "\nimage,Übersicht\ngrün.png,€\n".replace(",", "\t" if ending == "tsv" else ",")
    (tmp_path / f"a.{ending}").write_bytes(text.encode(encoding))
    rows, _ = planned(tmp_path, caption_column="Übersicht")
    assert [row.captions for row in rows] == [("€",)]
    assert contents(tmp_path, rows, tmp_path / "s") == [FILES[0]]


def test_utf16_without_a_mark_may_have_few_latin_letters(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(FILES[0])
    chinese = "\u4e00\u53ea\u732b\u5750\u5728\u6728\u684c\u65c1\u8fb9\uff0c\u770b\u7740\u7a97\u5916"
    (tmp_path / "a.csv").write_bytes(f"image,\u6587\n1.png,{4 * chinese}\n".encode("utf-16-le"))
    rows, _ = planned(tmp_path, caption_column="\u6587")
    assert [row.captions for row in rows] == [(4 * chinese,)]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_utf16_that_is_damaged_costs_its_rows_alone(ending: str, tmp_path: Path) -> None:
    """Half of a surrogate pair, and half of a character at the end."""
    text = {"csv": "image,text\na.png,x\ud800\na.png,t\n", "jsonl": '{"image": "a.png", "text": "t"}\n\ud800\n'}
    (tmp_path / f"a.{ending}").write_bytes(
        codecs.BOM_UTF16_LE + text[ending].encode("utf-16-le", "surrogatepass") + b"a"
    )
    rows, _ = planned(tmp_path)
    assert ("t",) in [row.captions for row in rows]


def test_any_text_may_be_the_name_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "f.png").write_bytes(FILES[0])
    names = ["f.png/x.png", "n" * 300, "nul\0.png", "./f.png", "sub/../f.png"]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"image": name, "text": "t"}) for name in names))
    rows, _ = planned(tmp_path)
    reasons = ["no such file", "file not readable", "no such file"]
    assert contents(tmp_path, rows, tmp_path / "s") == [*reasons, FILES[0], FILES[0]]
