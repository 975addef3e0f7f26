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
from t2i_shards.adapters.run_folder import START, read_begun
from t2i_shards.adapters.training.checkpoint import newest_step
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
    """--from, as an absolute path where it is one: in a run that has begun, also of what is no longer there.

    When it is not given, that of the run.
    """
    if config.start is None:
        return _read_name(config.out)
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
            f"{error}; {run / START} is the run's copy of the adapter that it began from: put it back as it was, "
            "or delete it and name that adapter with --from"
        ) from None


def make_start(config: TrainConfig, base: Base) -> Adapter:
    """Drawn from the seed, or read from RUN/start or else from --from, on the base's device.

    Raises RequestError where --from has another size than --adapter, or is not for this condition or base.
    """
    wanted = adapter_config_for(config.adapter, format_of(config.data.condition).channels, base.widths)
    name = name_start(config)
    if name is None:
        return make_adapter(wanted, config.seed).to(base.device)
    adapter = _read_kept(config.out) if name == _read_name(config.out) else _read_named(config.out, name)
    if adapter.config != wanted:
        raise RequestError(
            f"--from {name} must be {_describe(wanted)}, as --adapter {config.adapter}, --condition "
            f"{config.data.condition} and --base {config.base.name} ask for, and it is {_describe(adapter.config)}"
        )
    return adapter.to(base.device)


def digest_start(config: TrainConfig, adapter: Adapter) -> str | None:
    """sha256 of the weights of --from, for RUN/run.json; None for a new adapter, which the seed decides."""
    return None if name_start(config) is None else _digest(adapter)


def _read_kept(run: Path) -> Adapter:
    """The adapter in RUN/start. Raises RequestError where it is not the one that the run began from."""
    with _show_way_out(run):
        adapter = read_adapter(run / START)
        begun = read_begun(run)
        if begun and begun.get("from") not in (None, _digest(adapter)):
            raise RequestError(f"{run / START} holds other weights than when the run began")
    return adapter


def _read_named(run: Path, name: str) -> Adapter:
    """The adapter that --from names. What a run has trained from may be gone, and is then no hub id."""
    begun = read_begun(run) if newest_step(run) else None
    lost = begun and begun.get("from") and not os.path.lexists(run / START)
    if lost and not os.path.exists(name) and not name.startswith("hf://"):
        raise RequestError(
            f"{run / START}, the run's copy of the adapter that it began from, is missing, and there is no file "
            f"or folder {name}: put one of them back, or write hf:// before the name if it is a hub id"
        )
    return read_adapter(name)


def _digest(adapter: Adapter) -> str:
    return digest_networks({"adapter": adapter})


def _describe(config: AdapterConfig) -> str:
    size = next(name for name, size in SIZES.items() if size == config.size)
    widths = " ".join(map(str, config.channels))
    return f"of the size {size}, with {config.in_channels} channels in and widths {widths}"
