"""`t2i-shards convert-adapter`: from one way of naming an adapter's tensors to the other."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from t2i_shards.jobs.command import Summary
from t2i_shards.pipeline.errors import RequestError

if TYPE_CHECKING:
    from t2i_shards.adapters.model.convert import AdapterFile


@dataclass(frozen=True)
class ConvertAdapterCommand:
    """Rewrite a T2I-Adapter so that diffusers, or TencentARC's code and what follows it, can read it."""

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SOURCE")]
    """A file of either kind, the folder of an adapter, or a run."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """The new folder (diffusers), or the new .safetensors or .pth file (tencentarc)."""
    layout: Literal["diffusers", "tencentarc"]
    """Whose layout the new adapter has: diffusers', or TencentARC's."""
    channels: Literal[3] | None = None
    """3 makes an adapter of one channel take a grey condition as RGB, as webui gives it to light adapters."""
    json: bool = False
    """Print the summary as JSON."""

    def __post_init__(self) -> None:
        if os.path.lexists(self.out):
            raise RequestError(f"the new adapter must have a name of its own, and {self.out} is there already")
        if self.layout == "tencentarc" and self.out.suffix not in (".safetensors", ".pth"):
            raise RequestError(f"an adapter of TencentARC's is a .safetensors or .pth file, not {self.out}")

    def run(self) -> Summary:
        from t2i_shards.adapters.model.convert import open_adapter, widen_input

        found = open_adapter(self.source)
        if self.channels:
            found = widen_input(found)
        _write(found, self.out, self.layout)
        config = found.config
        parameters = sum(tensor.numel() for tensor in found.tensors.values())
        record = {
            "command": "convert-adapter",
            "out": str(self.out),
            "adapter": found.size,
            "in_channels": config.in_channels,
            "channels": list(config.channels),
            "parameters": parameters,
            "from": found.written_as,
            "to": self.layout,
        }
        line = (
            f"convert-adapter: {found.size}, {config.in_channels} channels in, {parameters:,} parameters, "
            f"from {found.written_as} to {self.layout} in {self.out}"
        )
        return Summary(line, record)


def _write(found: AdapterFile, out: Path, layout: str) -> None:
    from t2i_shards.adapters.model.convert import write_tencentarc
    from t2i_shards.adapters.model.diffusers_io import write_diffusers
    from t2i_shards.extractors.atomic import commit_folder

    if layout == "tencentarc":
        write_tencentarc(found.config, found.tensors, out)
        return
    with commit_folder(out) as folder:
        write_diffusers(found.config, found.tensors, folder)
