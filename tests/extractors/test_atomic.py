from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from t2i_shards.extractors import atomic
from t2i_shards.extractors.atomic import (
    commit_folder,
    create_file,
    remove_folder,
    replace_file,
    write_file,
    write_json,
)


def write(path: Path) -> None:
    write_file(path, "ours")


def write_record(path: Path) -> None:
    write_json(path, {"ours": 1})


def fill(path: Path) -> None:
    with replace_file(path) as scratch:
        scratch.write_text("ours")


def fill_folder(path: Path) -> None:
    with commit_folder(path) as folder:
        (folder / "file").write_text("ours")


WRITERS = (write, write_record, fill, fill_folder)


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("kind", ["file", "folder", "nothing"])
def test_what_a_link_points_to_is_not_touched(writer: Callable[[Path], None], kind: str, tmp_path: Path) -> None:
    victim, place = tmp_path / "victim", tmp_path / "received" / "name"
    place.parent.mkdir()
    if kind == "file":
        victim.write_text("theirs")
    elif kind == "folder":
        victim.mkdir()
        (victim / "file").write_text("theirs")
    place.symlink_to(victim)
    writer(place)
    assert not place.is_symlink()
    assert os.listdir(place.parent) == ["name"]
    assert not victim.exists() if kind == "nothing" else "theirs" in read_all(victim)


def read_all(path: Path) -> list[str]:
    return [file.read_text() for file in ([path] if path.is_file() else path.iterdir())]


@pytest.mark.parametrize("writer", WRITERS)
def test_links_at_the_names_of_scratch_are_not_written_through(
    writer: Callable[[Path], None], tmp_path: Path
) -> None:
    victim, place = tmp_path / "victim", tmp_path / "received" / "name"
    place.parent.mkdir()
    victim.write_text("theirs")
    for guess in (".name.part", ".name.old"):
        (place.parent / guess).symlink_to(victim)
    writer(place)
    assert victim.read_text() == "theirs"


def test_a_new_file_is_not_written_over_another(tmp_path: Path) -> None:
    for name in ("file", "link"):
        path = tmp_path / name
        if name == "file":
            path.write_text("theirs")
        else:
            path.symlink_to(tmp_path / "nothing")
        with pytest.raises(FileExistsError), create_file(path) as scratch:
            scratch.write_text("ours")
    assert (tmp_path / "file").read_text() == "theirs"
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]


def test_a_new_file_on_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    for expected in ("first", "first"):
        try:
            with create_file(tmp_path / "file") as scratch:
                scratch.write_text("first" if not (tmp_path / "file").exists() else "second")
        except FileExistsError:
            assert (tmp_path / "file").exists()
        assert (tmp_path / "file").read_text() == expected
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("block", [replace_file, create_file, commit_folder])
def test_nothing_is_left_of_a_block_that_raises(block: Callable[[Path], object], tmp_path: Path) -> None:
    def fail() -> None:
        with block(tmp_path / "name") as scratch:  # type: ignore[attr-defined]
            assert scratch.parent == tmp_path
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert os.listdir(tmp_path) == []


def test_an_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, "old")
    with replace_file(path) as scratch:
        scratch.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_folder_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    final = tmp_path / "000100"
    for content in ("first", "second"):
        with commit_folder(final) as folder:
            assert list(folder.iterdir()) == []
            (folder / content).write_text(content)
            assert not (final / content).exists()
        assert os.listdir(final) == [content]
    assert os.listdir(tmp_path) == ["000100"]
    remove_folder(final)
    assert os.listdir(tmp_path) == []


def test_files_have_the_mode_that_the_user_asks_for(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "file", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_scratch_of_a_killed_process_is_swept_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "file"
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom t2i_shards.extractors.atomic import replace_file\n"
        "with replace_file(Path(sys.argv[1])) as scratch: os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", script, path], cwd=Path(__file__).parents[2])
    assert killed.returncode == -signal.SIGKILL
    [left] = os.listdir(tmp_path)
    foreign = (".file.part", ".file.0123456789ab.old", ".files.0123456789ab.part")
    for name in foreign:
        (tmp_path / name).write_text("not ours")
    with replace_file(path) as scratch:
        scratch.write_text("first")
        assert not (tmp_path / left).exists()
        write_file(path, "second")
        assert scratch.exists()
    assert path.read_text() == "first"
    assert sorted(os.listdir(tmp_path)) == sorted((*foreign, "file"))


def test_a_folder_that_another_writer_fills_is_left_to_it(tmp_path: Path) -> None:
    with commit_folder(tmp_path / "folder") as first:
        (first / "a").write_text("first")
        with (
            pytest.raises(BlockingIOError, match="another process is writing"),
            commit_folder(tmp_path / "folder"),
        ):
            pass
    assert (tmp_path / "folder/a").read_text() == "first"
    with commit_folder(tmp_path / "folder"):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


def test_it_is_left_to_it_until_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_aside = atomic._set_aside

    def write_another(final: Path) -> Path:
        with pytest.raises(BlockingIOError), commit_folder(final):
            pass
        return set_aside(final)

    with commit_folder(tmp_path / "folder"):
        pass
    monkeypatch.setattr(atomic, "_set_aside", write_another)
    with commit_folder(tmp_path / "folder") as scratch:
        (scratch / "a").write_text("second")
    assert (tmp_path / "folder/a").read_text() == "second"
