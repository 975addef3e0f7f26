"""What a report shows of an evaluation: the verdict and its pictures, and no file from elsewhere."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t2i_shards.extractors.maps import png
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.report import Training, draw_sheet, render_page
from t2i_shards.pipeline.report.evaluation import Evaluation, read_evaluation

PLAIN = Training("run", 0, (), (), None, None)


def write_evaluation(folder: Path, *names: str, **more: object) -> Path:
    (folder / "shown").mkdir(parents=True)
    (folder / "shown" / "0-with.png").write_bytes(png.encode_rgb(np.full((64, 64, 3), 200, np.uint8)))
    shown = [
        {"key": "a", "caption": "a <b>red</b> cube", "files": dict(zip(("with", "other"), names, strict=True))}
    ]
    record = {"verdict": {"line": "sketch is followed & more"}, "shown": shown, **more}
    (folder / "evaluation.json").write_text(json.dumps(record))
    return folder


def read(folder: Path) -> Evaluation:
    found = read_evaluation(folder)
    assert found is not None
    return found


def test_page_and_sheet_show_the_verdict_and_the_pictures(tmp_path: Path) -> None:
    found = read(write_evaluation(tmp_path / "e", "shown/0-with.png", "shown/0-gone.png"))
    (row,) = found.rows
    assert [cell.column for cell in row.cells] == ["with", "other"]
    assert row.cells[0].image is not None
    assert row.cells[1].image is None
    page = render_page([], replace(PLAIN, evaluation=found))
    assert "sketch is followed &amp; more" in page
    assert "a &lt;b&gt;red&lt;/b&gt; cube" in page
    assert page.count("data:image/") == render_page([], PLAIN).count("data:image/") + 1
    heights = [
        Image.open(io.BytesIO(draw_sheet([], training))).height
        for training in (PLAIN, replace(PLAIN, evaluation=found))
    ]
    assert heights[1] > heights[0] + 64


def test_a_file_elsewhere_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png.encode_rgb(np.zeros((64, 64, 3), np.uint8)))
    folder = write_evaluation(tmp_path / "e", "../secret.png", str(tmp_path / "secret.png"))
    assert [cell.image for cell in read(folder).rows[0].cells] == [None, None]


def test_what_was_written_before_there_was_a_verdict_is_no_part_of_a_report(tmp_path: Path) -> None:
    assert read_evaluation(tmp_path) is None
    (tmp_path / "evaluation.json").write_text('{"about": {}, "rows": [], "notes": []}')
    assert read_evaluation(tmp_path) is None


@pytest.mark.parametrize("text", ["", "[]", '{"shown": 3}', '{"shown": [{"key": "a"}]}'])
def test_what_is_no_evaluation_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "evaluation.json").write_text(text)
    with pytest.raises(RequestError, match=r"evaluation\.json must"):
        read_evaluation(tmp_path)
