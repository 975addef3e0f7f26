from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.adapters.base import Base
from t2i_shards.adapters.config_file import read_config
from t2i_shards.adapters.model.diffusers_io import WEIGHTS
from t2i_shards.adapters.training.identity import keep_config
from t2i_shards.adapters.training.trainer import Training
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.runlog import LogLine
from tests.adapters.toys import toy_config, toy_stream

CHANGES: list[dict[str, Any]] = [
    {"warmup_steps": 2},
    {"weight_decay": 0.1},
    {"lr_schedule": "cosine", "warmup_steps": 1, "weight_decay": 0.1, "ema": 0.5},
]


@pytest.fixture(scope="module")
def plain(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plain") / "run"
    Training(toy_config(out, steps=4), toy_stream(), tiny).run()
    return out


def _bytes(run: Path) -> bytes:
    return (run / "adapter" / WEIGHTS).read_bytes()


@pytest.mark.parametrize("change", CHANGES)
def test_each_option_changes_the_adapter_and_resumes_to_the_same_bits(
    change: dict[str, Any], plain: Path, tiny: Base, tmp_path: Path
) -> None:
    def stop(line: LogLine) -> None:
        if line.step == 3:
            raise KeyboardInterrupt

    straight, stopped = (toy_config(tmp_path / name, steps=4, **change) for name in ("straight", "stopped"))
    Training(straight, toy_stream(), tiny).run()
    with pytest.raises(KeyboardInterrupt):
        Training(stopped, toy_stream(), tiny).run(stop)
    assert Training(stopped, toy_stream(), tiny).run().new_steps == 2
    assert _bytes(stopped.out) == _bytes(straight.out) != _bytes(plain)
    name = next(iter(change))
    with pytest.raises(RequestError, match=f"begun with {name} {change[name]}, and this command asks for None"):
        Training(toy_config(straight.out, steps=4, ema=change.get("ema")), toy_stream(), tiny)


def test_a_cosine_ends_where_it_was_begun_to_end(tiny: Base, tmp_path: Path) -> None:
    """The rate of every step depends on the last one."""
    Training(toy_config(tmp_path, steps=2, lr_schedule="cosine"), toy_stream(), tiny).run()
    with pytest.raises(RequestError, match="was begun with steps 2, and this command asks for 4"):
        Training(toy_config(tmp_path, steps=4, lr_schedule="cosine"), toy_stream(), tiny)
    same = toy_config(tmp_path, steps=None, epochs=0.4, lr_schedule="cosine")
    assert Training(same, toy_stream(), tiny).run().new_steps == 0


def test_a_run_of_before_these_options_continues(plain: Path, tiny: Base) -> None:
    record = json.loads((plain / "run.json").read_text())
    for name in ("lr_schedule", "warmup_steps", "weight_decay", "steps", "from"):
        assert record.pop(name, "missing") is None
    (plain / "run.json").write_text(json.dumps(record))
    assert Training(toy_config(plain, steps=5), toy_stream(), tiny).run().new_steps == 1
    with pytest.raises(RequestError, match=r"begun with weight_decay None, and this command asks for 0\.1"):
        Training(toy_config(plain, steps=5, weight_decay=0.1), toy_stream(), tiny)


def test_the_newest_request_replaces_an_earlier_one_and_no_file_of_the_user(tmp_path: Path) -> None:
    file, other = tmp_path / "config.toml", tmp_path / "other.toml"
    for steps in (4, 5):
        keep_config(toy_config(tmp_path, steps=steps))
        assert read_config(str(file))["steps"] == steps
    written = file.read_text()
    file.write_text(edited := written.replace("steps = 5", "steps = 7"))
    keep_config(toy_config(tmp_path, steps=6))
    assert file.read_text() == edited
    _, _, body = written.partition("\n")
    file.write_text(f"# t2i-shards train --config FILE makes this request again. Edit a copy.\n{body}")
    keep_config(toy_config(tmp_path, steps=5))
    assert file.read_text() == written, "the same request, from an earlier version"
    file.rename(other)
    file.symlink_to(other)
    keep_config(toy_config(tmp_path, steps=6))
    assert file.is_symlink()
    assert read_config(str(other))["steps"] == 5
    file.unlink()
    file.write_text("# mine\nsteps = 3\n")
    keep_config(toy_config(tmp_path, steps=6))
    assert file.read_text() == "# mine\nsteps = 3\n"
    file.unlink()
    os.mkfifo(file)
    keep_config(toy_config(tmp_path, steps=6))  # does not wait for a writer
    assert file.is_fifo()
