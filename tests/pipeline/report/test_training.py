"""The training of a report: its log, its verdict, its curve."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t2i_shards.extractors.maps import png
from t2i_shards.extractors.maps.png import encode_rgb
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.report import TrainingFacts, draw_sheet, read_training, render_page
from t2i_shards.pipeline.report.contact_sheet import wrap
from t2i_shards.pipeline.report.plots import MOST_POINTS, average, lay_out, nice_ticks
from t2i_shards.pipeline.report.training import MOST_PREVIEWS, EvaluationFacts, read_evaluation

PLAIN = TrainingFacts("run", 0, (), (), None, None)


def write_evaluation(folder: Path, *names: str, **more: object) -> Path:
    (folder / "shown").mkdir(parents=True)
    (folder / "shown" / "0-with.png").write_bytes(png.encode_rgb(np.full((64, 64, 3), 200, np.uint8)))
    shown = [
        {"key": "a", "caption": "a <b>red</b> cube", "files": dict(zip(("with", "other"), names, strict=True))}
    ]
    record = {"verdict": {"line": "sketch is followed & more"}, "shown": shown, **more}
    (folder / "evaluation.json").write_text(json.dumps(record))
    return folder


def read(folder: Path) -> EvaluationFacts:
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
    with pytest.raises(
        RequestError, match=r"evaluation\.json: must .*; delete it and run the same evaluate again"
    ):
        read_evaluation(tmp_path)


def write_log(folder: Path, text: str) -> Path:
    (folder / "log.jsonl").write_text(text)
    return folder


def test_a_log_is_read_and_what_a_kill_cut_or_repeated_counts_once(tmp_path: Path) -> None:
    log = (
        '{"step": 0, "validation": 2.0, "seconds": 0.5, "samples_per_s": 0.0}\n'
        '{"step": 1, "loss": 3.0, "seconds": 1.0, "samples_per_s": 8.0}\n'
        '{"step": 2, "loss": 2.5, "seconds": 2.0, "samples_per_s": 8.5}\n'
        '{"step": 2, "loss": 2.25, "validation": 1.0, "seconds": 2.0, "samples_per_s": 9.0}\n'
        '{"step": 3, "lo'
    )
    training = read_training(write_log(tmp_path, log))
    assert training.loss == ((1, 3.0), (2, 2.25))
    assert training.validation == ((0, 2.0), (2, 1.0))
    assert (training.steps, training.rate, training.diverged) == (2, 9.0, None)
    assert training.verdict == "Validation loss fell from 2 at step 0 to 1 at step 2, 50.0% less."


def test_a_loss_that_is_not_finite_is_said_and_left_out_of_the_curve(tmp_path: Path) -> None:
    training = read_training(write_log(tmp_path, '{"step": 1, "loss": 1.0}\n{"step": 2, "loss": NaN}\n'))
    assert training.loss == ((1, 1.0),)
    assert "not finite at step 2" in training.verdict
    skipped = '{"step": 2, "loss": null, "skipped": 1}\n{"step": 3, "loss": 1.0, "skipped": 1}\n'
    assert "not finite at step 2" in read_training(write_log(tmp_path, skipped)).verdict


@pytest.mark.parametrize("log", ["{}\n", "[1]\n", "x\n", '{"step": "1"}\n'])
def test_a_log_that_is_none_is_refused_by_line(tmp_path: Path, log: str) -> None:
    with pytest.raises(RequestError, match=r"log\.jsonl, line 2"):
        read_training(write_log(tmp_path, '{"step": 0}\n' + log))


def test_a_folder_without_a_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"log\.jsonl: not there"):
        read_training(tmp_path)


def test_an_empty_training_gives_a_page_and_a_picture_without_a_curve() -> None:
    training = TrainingFacts("run", 0, (), (), None, None)
    assert lay_out(training, 900, 300, (50, 10, 10, 40)) is None
    assert "No loss was logged yet." in render_page([], training)
    draw_sheet([], training)


@pytest.mark.parametrize(("low", "high"), [(0, 200), (0.13, 0.142), (3, 4e6), (-1, 1), (0.5, 0.5001)])
def test_ticks_enclose_the_range_in_even_steps(low: float, high: float) -> None:
    ticks = nice_ticks(low, high, 5)
    assert ticks[0] <= low + 1e-9
    assert ticks[-1] >= high - 1e-9
    assert 2 <= len(ticks) <= 12
    assert np.allclose(np.diff(ticks), ticks[1] - ticks[0])


@pytest.mark.parametrize("values", [[1.0], [1.0, 1.0], [0.2, 9.0, 0.1], [0.3] * 500 + [1e6]])
def test_the_curve_stays_in_its_plot(values: list[float]) -> None:
    points = tuple(enumerate(values))
    chart = lay_out(TrainingFacts("run", len(values), points, points[:1], None, None), 900, 300, (50, 10, 20, 40))
    assert chart is not None
    for x, y in chart.loss + chart.validation:
        assert chart.left <= x <= chart.right == 880
        assert chart.top == 10 <= y <= chart.bottom == 260


def test_long_logs_are_averaged_evenly() -> None:
    points = tuple((i, float(i)) for i in range(10 * MOST_POINTS))
    short = average(points)
    assert len(short) == MOST_POINTS
    assert short[0] == (4.5, 4.5)


@pytest.mark.parametrize("text", ["", "one", "some words in a row " * 20, "x" * 300, "é🙂 " * 50])
def test_wrapped_lines_fit(text: str) -> None:
    lines = wrap(text, 20, 3, len)
    assert len(lines) <= 3
    assert all(0 < len(line) <= 20 for line in lines)
    if not any(line.endswith("…") for line in lines):
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_the_verdict_says_what_a_wrong_condition_costs(tmp_path: Path) -> None:
    lines = [{"step": 0, "validation": 2.0, "mismatched": 2.0}, {"step": 9, "validation": 1.5, "mismatched": 1.7}]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_training(tmp_path).verdict.endswith("25.0% less. With another picture's condition it is 1.7.")


def test_sample_pictures_are_shown_over_the_steps(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 0, "validation": 2.0}\n')
    samples = tmp_path / "samples"
    samples.mkdir()
    for step in range(100, 2100, 100):
        (samples / f"{step:06d}.png").write_bytes(encode_rgb(np.full((20, 30, 3), step % 255, np.uint8)))
    (samples / "000300.png").write_bytes(b"no picture")
    (samples / "notes.png").write_bytes(b"theirs")
    shown = read_training(tmp_path).previews
    assert len(shown) == MOST_PREVIEWS
    assert (shown[0].key, shown[-1].key) == ("step 100", "step 2,000")
    steps = [int(row.key.removeprefix("step ").replace(",", "")) for row in shown]
    assert steps == sorted(set(steps))
    assert [row.cells[0].note[:15] for row in shown if row.cells[0].image is None] == ["cannot be drawn"]
    html = render_page([], read_training(tmp_path))
    assert "Sample pictures while it trained" in html
    assert "step 2,000" in html
    assert "Sample pictures" not in render_page([], replace(read_training(tmp_path), previews=()))


def test_a_loss_that_did_not_change_stayed(tmp_path: Path) -> None:
    """To the digits that are shown."""
    log = '{"step": 0, "validation": 0.11441}\n{"step": 2, "validation": 0.11442, "mismatched": 0.1141}\n'
    said = "Validation loss stayed at 0.1144 from step 0 to 2. With another picture's condition it is 0.1141."
    assert read_training(write_log(tmp_path, log)).verdict == said
