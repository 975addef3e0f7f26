"""The adapter as it is before the first step: new, or one that was trained before."""

from __future__ import annotations

from t2i_shards.adapters.base import Base, digest_networks
from t2i_shards.adapters.model.adapter import Adapter, make_adapter
from t2i_shards.adapters.model.config import SIZES, AdapterConfig, adapter_config_for
from t2i_shards.adapters.model.convert import read_adapter
from t2i_shards.adapters.training.config import TrainConfig
from t2i_shards.extractors.registry import format_of
from t2i_shards.pipeline.errors import RequestError


def make_start(config: TrainConfig, base: Base) -> Adapter:
    """Drawn from the seed, or read from --from, on the base's device.

    Raises RequestError where --from has another size than --adapter, or is not for this condition or base.
    """
    wanted = adapter_config_for(config.adapter, format_of(config.data.condition).channels, base.widths)
    if config.start is None:
        return make_adapter(wanted, config.seed).to(base.device)
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
