"""weights: which files the extractors' networks need, fetched ahead and converted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro

from t2i_shards.extractors.atomic import replace_file, sha256_of
from t2i_shards.extractors.registry import EXTRACTORS, UnknownCondition, weight_files
from t2i_shards.extractors.weights.checkpoints import NotTensors, convert
from t2i_shards.extractors.weights.file import WeightFile, WeightsDamaged, WeightsUnavailable, lock_converted
from t2i_shards.extractors.weights.resolve import check, find, resolve
from t2i_shards.jobs.command import Summary
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.plain import number_of


@dataclass(frozen=True)
class WeightsList:
    """Every weight file: for which condition, from where, how big, its sha256 and licence, and where it is."""

    weights: Path | None = None
    """A folder with weight files, looked into before the cache."""
    json: bool = False
    """Print the list as JSON."""

    def run(self) -> Summary:
        rows = [
            {"condition": condition, "variant": variant, **describe(weight, self.weights)}
            for condition, variant, weight in registered()
        ]
        here = sum(row["where"] is not None for row in rows)
        lines = [_line(row) for row in rows]
        lines.append(f"weights: {number_of(len(rows), 'entry')}, {here} of them on this machine")
        damaged = tuple(row["damaged"] for row in rows if row["damaged"])
        return Summary("\n".join(lines), {"command": "weights list", "files": rows}, damaged)


def registered() -> Iterator[tuple[str, str, WeightFile]]:
    """(condition, variant, file) of every extractor that needs files."""
    for condition, variants in EXTRACTORS.items():
        for variant in variants:
            for weight in weight_files(condition, variant):
                yield condition, variant, weight


def describe(weight: WeightFile, directory: Path | None) -> dict[str, Any]:
    """What is known of a file, JSON-able. where: its path, or None; damaged: one line, or None."""
    where, damaged, digest = None, None, weight.sha256 if weight.pinned else None
    try:
        digest = digest or weight.locked().get("sha256")
        where = find(weight, directory)
    except WeightsDamaged as error:
        damaged = str(error)
    return {
        "file": weight.filename,
        "from": weight.source,
        "revision": weight.revision or None,
        "bytes": weight.bytes or (where.stat().st_size if where else None),
        "sha256": digest,
        "prefix": weight.sha256 or None,
        "licence": weight.licence,
        "where": None if where is None else str(where),
        "damaged": damaged,
    }


def _line(row: dict[str, Any]) -> str:
    size = f"{row['bytes'] / 1e6:.1f} MB" if row["bytes"] else "size unknown"
    begins = f" (begins with {row['prefix']})" if row["prefix"] else ""
    unknown = f"locked on first use{begins}" if row["revision"] or begins else "unknown"
    origin = f"{row['from']} at {row['revision']}" if row["revision"] else row["from"]
    return "\n".join(
        [
            f"{row['condition']} {row['variant']}: {row['file']}",
            f"    {origin}",
            f"    {size}, sha256 {row['sha256'] or unknown}",
            f"    {row['licence']}",
            f"    {row['where'] or ('DAMAGED' if row['damaged'] else 'missing')}",
        ]
    )


@dataclass(frozen=True)
class WeightsFetch:
    """Bring weight files to this machine, ahead of machines that have no network."""

    conditions: tuple[str, ...] = ()
    """For which conditions; all that have the variant when not given."""
    variant: str = "default"
    """Which networks."""
    to: Path | None = None
    """The folder to put them into, later given as --weights; the cache when not given."""
    json: bool = False
    """Print the summary as JSON."""

    def run(self) -> Summary:
        conditions = self.conditions or tuple(c for c, variants in EXTRACTORS.items() if self.variant in variants)
        files: list[str] = []
        problems: list[str] = []
        for condition in conditions:
            try:
                needed = [weight for weight in weight_files(condition, self.variant) if not weight.shipped]
            except UnknownCondition as error:
                raise RequestError(str(error)) from error
            for weight in needed:
                try:
                    files.append(str(fetch(weight, self.to)))
                except (WeightsUnavailable, WeightsDamaged) as error:
                    problems.append(str(error))
        files = list(dict.fromkeys(files))
        line = "\n".join([*files, f"weights fetch: {number_of(len(files), 'file')} here, {len(problems)} not"])
        return Summary(line, {"command": "weights fetch", "files": files}, tuple(problems))


def fetch(weight: WeightFile, to: Path | None) -> Path:
    """The verified file in `to`, or in the cache. Raises WeightsUnavailable or WeightsDamaged."""
    path = resolve(weight, to)
    if to is None or path.is_relative_to(to):
        return path
    target = (to / weight.name / weight.filename).with_name(path.name)
    with replace_file(target) as scratch:
        shutil.copyfile(path, scratch)
    return target


@dataclass(frozen=True)
class WeightsConvert:
    """Turn a torch checkpoint into a safetensors file once; known weights then load from it on this machine."""

    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]
    """The checkpoint. One that has the name of known weights must have their sha256."""
    out: Path | None = None
    """The new file; by default next to the checkpoint, with its name and .safetensors."""
    json: bool = False
    """Print the summary as JSON."""

    def run(self) -> Summary:
        out = self.out or self.file.with_suffix(".safetensors")
        if not self.file.is_file():
            raise RequestError(f"there is no file {self.file}")
        if self.file.suffix == ".safetensors":
            raise RequestError(f"{self.file} is a safetensors file already")
        if out.suffix != ".safetensors" or os.path.lexists(out):
            raise RequestError(f"--out must name a new .safetensors file, not {out}")
        known = [weight for _, _, weight in registered() if weight.filename == self.file.name]
        try:
            digest = check(known[0], self.file) if known else sha256_of(self.file)
            # Recorded before the file appears: one without its record would never be loaded.
            record_it = partial(lock_converted, known[0].lock, digest) if known else None
            count = convert(self.file, out, digest, record_it)
        except (WeightsDamaged, NotTensors) as error:
            raise RequestError(str(error)) from error
        converted = sha256_of(out)
        record = {"command": "weights convert", "file": str(out), "sha256": converted, "source_sha256": digest}
        line = f"weights convert: {count} tensors of {self.file} (sha256 {digest}) in {out} (sha256 {converted})"
        return Summary(line, {**record, "tensors": count, "known": bool(known)})


@dataclass(frozen=True)
class WeightsCommand:
    """The files with the extractors' networks: list them, fetch them ahead, convert them."""

    action: (
        Annotated[WeightsList, tyro.conf.subcommand("list")]
        | Annotated[WeightsFetch, tyro.conf.subcommand("fetch")]
        | Annotated[WeightsConvert, tyro.conf.subcommand("convert")]
    )
