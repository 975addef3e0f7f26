"""The report command: where it writes, how it ends, what it refuses."""

import json
import os
import sys
from pathlib import Path
from shutil import disk_usage

import numpy as np
import pytest
from PIL import Image

from t2i_shards.jobs.__main__ import run
from t2i_shards.jobs.command import EngineOptions, execute
from t2i_shards.jobs.report import ReportCommand
from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.report import collect
from t2i_shards.pipeline.report.strips import is_ours
from t2i_shards.pipeline.shards.store import open_store
from t2i_shards.pipeline.sources.folder import FolderSource
from tests.faults.toys import make_images
from tests.pipeline.report.crawl import kept, make_crawl

pytestmark = pytest.mark.usefixtures("in_this_process")

ONE = EngineOptions("local", 1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """ROOT with four pictures in two shards."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(4):
        pixels = np.random.Generator(np.random.PCG64(i)).integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(pictures / f"{i}.png")
        (pictures / f"{i}.txt").write_text(f"caption {i}")
    make_images(tmp_path / "root", FolderSource(str(pictures)), 2)
    return tmp_path / "root"


def test_page_and_picture_lie_in_the_dataset_by_default(root: Path) -> None:
    assert execute(ReportCommand((str(root),), engine=ONE)) == 0
    assert (root / "report.html").read_text().startswith("<!doctype html>")
    assert Image.open(root / "report.png").width == 1600


def test_several_datasets_and_a_training_on_one_page(root: Path, tmp_path: Path) -> None:
    run = tmp_path / "train"
    run.mkdir()
    (run / "log.jsonl").write_text('{"step": 0, "validation": 2.0}\n{"step": 5, "validation": 1.0}\n')
    out = tmp_path / "new" / "page.html"
    summary = ReportCommand((str(root), str(root)), run_=run, out=out, quick=True).run()
    html = out.read_text()
    assert html.count("caption 0<") == 2
    assert "fell from 2 at step 0 to 1 at step 5" in html
    assert out.with_suffix(".png").is_file()
    assert summary.record["validation"] == [[0, 2.0], [5, 1.0]]


def test_a_damaged_shard_ends_with_3_and_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tar = root / "images" / "000001.tar"
    tar.write_bytes(tar.read_bytes()[:-1])
    assert execute(ReportCommand((str(root),), json=True, engine=ONE)) == 3
    output = capsys.readouterr()
    assert "images/000001.tar" in output.err
    assert "images/000001.tar" in json.loads(output.out)["problems"][0]
    html = (root / "report.html").read_text()
    assert "images/000001.tar" in html
    assert "caption 0" in html
    assert "caption 3" not in html


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (ReportCommand(()), "at least one ROOT"),
        (ReportCommand(("ROOT",), rows=0), "--rows must be at least 1, not 0"),
        (ReportCommand(("ROOT",), all_=True, quick=True), "give one of them"),
        (ReportCommand(("ROOT",), out=Path("report.png")), "--out must end in .html, not 'report.png'"),
        (ReportCommand(("nowhere",)), "nowhere/dataset.json: not there"),
        (ReportCommand(("ROOT",), run_=Path("nowhere")), "--run must be the folder of a training"),
    ],
)
def test_a_wrong_request_is_refused_in_one_line(
    command: ReportCommand,
    said: str,
    root: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(root.parent)
    root.rename(root.parent / "ROOT")
    assert execute(command) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line
    assert not list(root.parent.rglob("report.*"))


@pytest.mark.parametrize(
    ("package", "words", "said"),
    [
        ("matplotlib", ["report", "ROOT"], "matplotlib, which is not installed: pip install 't2i-shards[report]'"),
        ("matplotlib", ["demo", "--out", "DEMO"], "pip install 't2i-shards[report]'"),
        ("mmpose", ["demo", "--out", "DEMO"], "pip install 't2i-shards[openmmlab]', then pip install --no-deps"),
    ],
)
def test_a_package_that_is_missing_is_named_before_anything_is_done(
    package: str,
    words: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    assert run(words) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line
    assert not list(tmp_path.iterdir())


def test_a_dataset_on_an_object_store_is_reported_here(
    root: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"{bucket}/set")
    for path in root.rglob("*.*"):
        store.create(path.relative_to(root).as_posix(), path)
    monkeypatch.chdir(tmp_path)
    assert execute(ReportCommand((f"{bucket}/set",), engine=ONE)) == 0
    assert "caption 3" in Path("report.html").read_text()


def test_the_number_of_workers_changes_no_byte(tmp_path: Path) -> None:
    make_crawl(tmp_path / "root")
    pages = []
    for workers in (1, 3):
        summary = ReportCommand(
            (str(tmp_path / "root"),), out=tmp_path / f"{workers}.html", engine=EngineOptions("local", workers)
        ).run()
        assert not summary.problems
        assert summary.record["datasets"][str(tmp_path / "root")]["counted"] == len(kept(40))
        pages.append((tmp_path / f"{workers}.html").read_bytes())
    assert pages[0] == pages[1]
    assert b"Numbers of 33 samples" in pages[0]


def test_a_quick_report_opens_only_the_shards_it_shows(root: Path) -> None:
    (root / "images" / "000000.tar").unlink()
    assert execute(ReportCommand((str(root),), rows=1, quick=True)) == 0
    assert execute(ReportCommand((str(root),), rows=1, engine=ONE)) == 3


@pytest.mark.parametrize("name", ["report.html", "report.png"])
@pytest.mark.parametrize("kind", ["link", "dangling link", "file", "fifo", "folder"])
@pytest.mark.parametrize("reported", [False, True])
def test_a_foreign_file_with_the_name_of_the_page_is_refused(
    kind: str, name: str, reported: bool, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    victim, place = tmp_path / "authorized_keys", root / name
    victim.write_text("theirs")
    command = ReportCommand((str(root),), quick=True, engine=ONE)
    if reported:
        assert execute(command) == 0
        place.unlink()
    match kind:
        case "link":
            place.symlink_to(victim)
        case "dangling link":
            place.symlink_to(tmp_path / "new")
        case "file":
            place.write_text("<!doctype html><title>mine</title>")
        case "fifo":
            os.mkfifo(place)
        case "folder":
            place.mkdir()
    before = sorted(root.rglob("*"))
    capsys.readouterr()
    # Beside a page of ours, a picture that is a file is ours too: before this, none was marked.
    ours = reported and (name, kind) == ("report.png", "file")
    assert execute(command) == (0 if ours else 2)
    if not ours:
        [line] = capsys.readouterr().err.splitlines()
        assert f"{place} " in line
        assert "give another --out" in line
    assert victim.read_text() == "theirs"
    assert not (tmp_path / "new").exists()
    assert sorted(root.rglob("*")) == before


def test_an_earlier_report_is_replaced(root: Path) -> None:
    command = ReportCommand((str(root),), quick=True, engine=ONE)
    assert execute(command) == 0
    old = root / "report.html"
    old.write_text(old.read_text() + "<!-- old -->")
    assert execute(command) == 0
    assert "<!-- old -->" not in old.read_text()


def test_a_full_disk_is_one_line_and_the_older_page_stays(
    root: Path, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, picture = disk / "page.html", disk / "page.png"
    report = ReportCommand((str(root),), out=page, quick=True)
    assert execute(report) == 0
    before = page.read_bytes(), picture.read_bytes()
    (disk / "ballast").write_bytes(bytes(disk_usage(disk).free))
    capsys.readouterr()
    assert execute(report) == 3
    said = capsys.readouterr()
    assert (said.out, said.err) == (
        "",
        "t2i-shards: cannot write: No space left on device; nothing that is done is lost\n",
    )
    assert (page.read_bytes(), picture.read_bytes()) == before
    assert sorted(path.name for path in disk.iterdir()) == ["ballast", "page.html", "page.png"]


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}


def test_all_puts_small_pictures_of_every_sample_next_to_the_page(root: Path) -> None:
    make_crawl(root.parent / "crawl")
    roots, out = (str(root), str(root.parent / "crawl")), root.parent / "look.html"
    assert execute(ReportCommand(roots, out=out, all_=True, rows=2, engine=ONE)) == 0
    folder = out.with_name("look_files")
    keys = {path.stem for path in folder.glob("d2/*/*.webp")}
    assert keys == {f"{i:06d}" for i in kept(40)}
    assert len(list(folder.glob("d1/*/*.webp"))) == 4
    assert Image.open(folder / "d2/000000/000000.webp").size[0] % 5 == 0
    html = out.read_text()
    assert '"strips":"look_files/d1"' in html
    assert "img-src data: 'self' file:;" in html
    before = files_in(folder)
    assert execute(ReportCommand(roots, out=out, all_=True, rows=2, engine=EngineOptions("local", 3))) == 0
    assert files_in(folder) == before
    assert execute(ReportCommand(roots[:1], out=out, quick=True)) == 0
    assert not folder.exists(), "no page shows them any longer"
    assert "img-src data:;" in out.read_text()


def test_all_samples_but_removed_ones_get_a_small_picture_also_where_they_are_too_many_for_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_crawl(tmp_path / "root")
    remove(dataset, "keys", [f"{i:06d}" for i in kept(40)[:10]])
    monkeypatch.setattr(collect, "MOST_BESIDE_STRIPS", 12)
    facts = ReportCommand((str(tmp_path / "root"),), all_=True, engine=ONE).run()
    found = {path.stem for path in tmp_path.glob("root/report_files/*/*/*.webp")}
    assert found == {f"{i:06d}" for i in kept(40)[10:]}
    assert not facts.problems
    assert "1 dataset, 23 samples; open" in facts.line
    html = (tmp_path / "root" / "report.html").read_text()
    assert ">All samples<" in html
    side_files = sorted(tmp_path.glob("root/report_files/*/*/samples-0.js"))
    assert len(side_files) == len(dataset.shards)
    assert is_ours(tmp_path / "root" / "report_files")


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_a_foreign_folder_with_the_name_of_the_small_pictures_stays(
    kind: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(ReportCommand((str(root),), quick=True)) == 0
    folder, theirs = root / "report_files", tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "mine.txt").write_text("mine")
    match kind:
        case "file":
            folder.write_text("mine")
        case "folder":
            theirs.rename(folder)
        case "link":
            folder.symlink_to(theirs)
    before = sorted(root.rglob("*"))
    capsys.readouterr()
    assert execute(ReportCommand((str(root),), all_=True, engine=ONE)) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"{folder} was not made by report, or holds something else too, and is not replaced" in line
    assert execute(ReportCommand((str(root),), quick=True)) == 0
    assert sorted(root.rglob("*")) == before
    assert (theirs if kind != "folder" else folder).is_dir() or kind == "file"
