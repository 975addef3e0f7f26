"""The adapter as it is before the first step: new, or one that was trained before.

RUN/start holds a copy of the latter, and the name by which it was asked for: a run that has begun no longer needs
the folder or the hub repository that it began from.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from t2i_shards.adapters.base import Base, digest_networks
from t2i_shards.adapters.model.adapter import Adapter, make_adapter
from t2i_shards.adapters.model.config import SIZES, AdapterConfig, adapter_config_for
from t2i_shards.adapters.model.convert import read_adapter
from t2i_shards.adapters.model.diffusers_io import save_adapter
from t2i_shards.adapters.records import read_record
from t2i_shards.adapters.run_folder import START
from t2i_shards.adapters.training.config import TrainConfig
from t2i_shards.extractors.atomic import commit_folder, write_json
from t2i_shards.extractors.registry import format_of
from t2i_shards.pipeline.errors import RequestError

NAME = "start.json"


@dataclass(frozen=True)
class StartRecord:
    """What start.json holds. name: --from, as an absolute path where it was one."""

    name: str


def name_start(config: TrainConfig) -> str | None:
    """--from, as an absolute path where it is one: in a run that has begun, also of what is no longer there."""
    if config.start is None:
        return None
    path = os.path.abspath(config.start)
    if (begun := _read_name(config.out)) in (config.start, path):
        return begun
    return path if os.path.exists(path) else config.start


def keep_start(config: TrainConfig, adapter: Adapter) -> None:
    """Copy the adapter of --from into a run that has none yet."""
    name = name_start(config)
    if name is None or (config.out / START / NAME).exists():
        return
    with commit_folder(config.out / START) as folder:
        save_adapter(adapter, folder)
        write_json(folder / NAME, asdict(StartRecord(name)))


def _read_name(run: Path) -> str | None:
    record = run / START / NAME
    with _show_way_out(run):
        return read_record(record, StartRecord, closed=True).name if os.path.lexists(record) else None


@contextmanager
def _show_way_out(run: Path) -> Iterator[None]:
    try:
        yield
    except RequestError as error:
        raise RequestError(
            f"{error}; {run / START} holds the adapter that the run began from: put it back as it was, or "
            "delete it while --from is still there"
        ) from None


def make_start(config: TrainConfig, base: Base) -> Adapter:
    """Drawn from the seed, or read from RUN/start or else from --from, on the base's device.

    Raises RequestError where --from has another size than --adapter, or is not for this condition or base.
    """
    wanted = adapter_config_for(config.adapter, format_of(config.data.condition).channels, base.widths)
    if config.start is None:
        return make_adapter(wanted, config.seed).to(base.device)
    name = name_start(config)
    if name == _read_name(config.out):
        with _show_way_out(config.out):
            adapter = read_adapter(config.out / START)
    else:
        adapter = read_adapter(config.start)
    if adapter.config != wanted:
        raise RequestError(
            f"--from {config.start} must be {_describe(wanted)}, as --adapter {config.adapter}, --condition "
            f"{config.data.condition} and --base {config.base.name} ask for, and it is {_describe(adapter.config)}"
        )
    return adapter.to(base.device)


def digest_start(config: TrainConfig, adapter: Adapter) -> str | None:
    """sha256 of the weights of --from, for RUN/run.json; None for a new adapter, which the seed decides."""
    return None if config.start is None else digest_networks({"adapter": adapter})


def _describe(config: AdapterConfig) -> str:
    size = next(name for name, size in SIZES.items() if size == config.size)
    widths = " ".join(map(str, config.channels))
    return f"of the size {size}, with {config.in_channels} channels in and widths {widths}"
