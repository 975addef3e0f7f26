from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
import tyro
from hypothesis import given
from hypothesis import strategies as st

from t2i_shards.adapters.config_file import read_config, render_config
from t2i_shards.pipeline.errors import RequestError


@dataclass(frozen=True)
class Options:
    text: str = ""
    number: float = 0.5
    count: int | None = None
    names: tuple[str, ...] = ("a",)
    shares: tuple[float, ...] = ()
    switch: bool = False


TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXT, st.floats(allow_nan=False, allow_infinity=False), st.integers(), st.lists(TEXT))
def test_every_value_is_read_as_it_was_written(text: str, number: float, count: int, names: list[str]) -> None:
    options = Options(text, number, count, tuple(names), (0.5, number), True)
    found = tomllib.loads(render_config("toy", options).decode())
    if "://" not in text + "".join(names):
        assert found == {
            "command": "toy", "text": text, "number": number, "count": count, "names": names,
            "shares": [0.5, number], "switch": True,
        }  # fmt: skip


def test_what_has_no_value_and_what_is_secret_is_left_out() -> None:
    options = Options("s3://me:word@host/x?sig=1", names=())
    found = tomllib.loads(render_config("toy", options, ("switch",)).decode())
    assert found == {"command": "toy", "text": "s3://…@host/x?sig=…", "number": 0.5, "names": []}


@dataclass(frozen=True)
class Places:
    roots: tyro.conf.Positional[tuple[str, ...]]
    weights: Path | None = None
    name: str = "net"


def test_paths_in_a_file_do_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net").mkdir()
    found = tomllib.loads(render_config("toy", Places(("a", "s3://b/c", "/d"), Path("net"))).decode())
    assert found["roots"] == [f"{tmp_path}/a", "s3://b/c", "/d"]
    assert (found["weights"], found["name"]) == (f"{tmp_path}/net", "net")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_a_byte_order_mark_is_no_part_of_a_file(encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "f.toml"
    file.write_bytes('text = "grün"\n'.encode(encoding))
    assert read_config(str(file)) == {"text": "grün"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a = ", "cannot be read: "),
        (b"\xff\xfea", "cannot be read: "),
        (b"[table]\na = 1", "table must be a text, a number, true, false, or a list of them"),
        (b"a = 2026-01-01", "a must be a text"),
        (b"a = [[1]]", "a must be a text"),
        (b"a = " + b"[" * 2000, "cannot be read: "),
        (b"a = " + b"9" * 5000, "cannot be read: "),
        (b'a = ["b\\u0000"]', "a must be a text without a null"),
    ],
)
def test_what_is_no_file_of_options_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "f.toml"
    file.write_bytes(content)
    with pytest.raises(RequestError, match=said):
        read_config(str(file))
    with pytest.raises(RequestError, match=r"nowhere\.toml cannot be read: No such file or directory$"):
        read_config(str(tmp_path / "nowhere.toml"))
