"""What of a tar makes a sample, and every reason why something does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from t2i_shards.pipeline.sources.left_out import LeftOut, Named
from t2i_shards.pipeline.sources.tars.source import TarsSource
from tests.pipeline.sources.tars.toys import JPEG, PNG, planned, write_tar


@pytest.mark.parametrize(
    ("members", "choice", "captions"),
    [
        ({"txt": " a  cat\n on a mat"}, {}, ("a cat on a mat",)),
        ({"txt": "caf\u00e9".encode("cp1252")}, {}, ("caf\u00e9",)),
        ({"TXT": "upper"}, {}, ("upper",)),
        ({"json": {"caption": "of json"}}, {}, ("of json",)),
        ({"json": {"text": "of text"}}, {}, ("of text",)),
        ({"json": {"caption": ["one", "", 3, "two"]}}, {}, ("one", "two")),
        ({"json": {"captions": ["one", "two"]}, "txt": "of txt"}, {}, ("one", "two")),
        ({"json": {"captions": []}, "txt": "of txt"}, {}, ("of txt",)),
        ({"json": {"caption": "of json"}, "txt": "of txt"}, {}, ("of txt",)),
        ({"json": {"caption": "x", "blip": "better"}, "txt": "of txt"}, {"caption_key": "blip"}, ("better",)),
        ({"json": {"caption": "x"}, "txt": "of txt"}, {"caption_key": "blip"}, None),
        ({"json": {"caption": 3}}, {}, None),
        ({"json": "[1, 2]"}, {}, None),
        ({"json": '{"caption": "deep", "a": ' + "[" * 40 + "]" * 40 + "}"}, {}, None),
        ({"json": '{"caption": "deep", "a": ' + "[" * 100_000 + "]" * 100_000 + "}", "txt": "t"}, {}, ("t",)),
        ({"txt": b"\x00\x01"}, {}, None),
        ({"txt": ""}, {}, None),
        ({}, {}, None),
    ],
)
def test_captions(
    members: dict[str, Any], choice: dict[str, str], captions: tuple[str, ...] | None, tmp_path: Path
) -> None:
    write_tar(tmp_path / "1.tar", {"a.jpg": JPEG} | {f"a.{end}": content for end, content in members.items()})
    rows, left_out = planned(tmp_path, **choice)
    assert [row.captions for row in rows] == ([captions] if captions else [])
    assert left_out["no caption"] == (0 if captions else 1)


@pytest.mark.parametrize(
    ("endings", "image", "taken"),
    [
        (["jpg"], None, "jpg"),
        (["png", "jpg"], None, "jpg"),
        (["sketch.png", "webp"], None, "webp"),
        (["jpg", "target.png"], "target.png", "target.png"),
        (["JPEG"], None, "JPEG"),
        (["jpg"], "png", None),
        (["sketch.png"], None, None),
    ],
)
def test_pictures(endings: list[str], image: str | None, taken: str | None, tmp_path: Path) -> None:
    write_tar(tmp_path / "1.tar", {f"a.{ending}": PNG for ending in endings} | {"a.txt": "a"})
    rows, left_out = planned(tmp_path, image=image)
    assert [row.location for row in rows] == ([f"1.tar/a.{taken}"] if taken else [])
    assert left_out == ({} if taken else {"no picture": 1})


def test_members_of_a_sample_may_stand_anywhere(tmp_path: Path) -> None:
    write_tar(tmp_path / "1.tar", {"./b.jpg": JPEG, "a.txt": "a", "./b.txt": "b", "a.jpg": JPEG})
    assert [(row.key, row.captions) for row in planned(tmp_path)[0]] == [("a", ("a",)), ("b", ("b",))]


def test_everything_is_counted(tmp_path: Path) -> None:
    taken = {"a.jpg": JPEG, "a.txt": "a", "a.json": "no json"}
    others = {
        "b.tiff": b"x",
        "b.txt": "b",
        "c.txt": "c",
        "d.jpg": JPEG,
        "README": "r",
        "../e.jpg": JPEG,
        "\x1b.jpg": JPEG,
    }
    write_tar(tmp_path / "1.tar", taken | others)
    named = list[Named]()
    left_out = LeftOut(named.extend)
    rows = list(TarsSource(str(tmp_path)).rows(left_out))
    left_out.flush()
    assert [row.key for row in rows] == ["a"]
    assert named == [
        ("format not taken", "1.tar/b.tiff"),
        ("no picture", "1.tar/c"),
        ("no caption", "1.tar/d.jpg"),
    ]
    assert left_out == {
        "format not taken": 1,
        "no picture": 1,
        "no caption": 1,
        "member without key": 3,
        "json not readable": 1,
    }
