"""Where a network's weights come from, and the proof that they are the ones named.

A file is looked for in the folder the user gave (--weights), in the cache, on the hub or at its publisher's
address, in this order, and its sha256 is checked before anything of it is deserialised, wherever it came from.
What is known of a digest beforehand is all of it, its first digits (publishers put eight into a file's name), or
nothing; in the latter cases the first full digest seen is locked in the cache, and another one refused from then
on. A file that `weights convert` made is taken in the original's place only if this machine's lock names its own
digest: what a file says of its origin can be forged.
"""

import shutil
from pathlib import Path

from t2i_shards.extractors.atomic import replace_file, sha256_of
from t2i_shards.extractors.weights.fetch import fetch_from_hub, fetch_from_url
from t2i_shards.extractors.weights.file import SHIPPED, WeightFile, WeightsDamaged, WeightsUnavailable, lock

GENERIC_NAME = "model.safetensors"
"""The hub's name for most weights: such a file belongs to the family in whose folder it lies."""


def resolve(weight: WeightFile, directory: Path | None) -> Path:
    """The verified file: DIR/filename or DIR/name/filename of --weights DIR, else the cache, else its source.

    Raises WeightsDamaged if the first file found has another digest, WeightsUnavailable if there is none.
    """
    present = find(weight, directory)
    if present:
        if present.name == weight.filename:
            _lock(weight, present)
        return present
    if weight.shipped:
        raise WeightsUnavailable(f"{weight.filename} or its line in SHA256SUMS is missing from {SHIPPED}")
    with replace_file(weight.cached) as scratch:
        try:
            downloaded = fetch_from_hub(weight) if weight.hub else fetch_from_url(weight, scratch)
        except Exception as error:  # the clients raise errors of their own, of their HTTP library and OSError
            where = f"not in --weights {directory}" if directory else "no --weights given"
            size = "" if weight.bytes is None else f" ({weight.bytes} bytes)"
            raise WeightsUnavailable(
                f"{weight.filename}{size}: {where}, not in the cache ({weight.cached}), and "
                f"{weight.source} failed ({type(error).__name__}); pass --weights DIR that holds it"
            ) from error
        check(weight, downloaded)
        _lock(weight, downloaded)
        if downloaded != scratch:
            shutil.copyfile(downloaded, scratch)
    return weight.cached


def find(weight: WeightFile, directory: Path | None) -> Path | None:
    """The verified file if this machine has it; locks nothing. Raises WeightsDamaged if it is another."""
    for place in places(weight, directory):
        converted = place.with_suffix(".safetensors")
        if converted != place and converted.is_file():
            if sha256_of(converted) == weight.locked().get("converted"):
                return converted
            if not place.is_file():
                raise WeightsDamaged(
                    f"{converted}: this machine has no record that it was made of {weight.filename}; it was not "
                    "loaded; pass the original, or convert it here (t2i-shards weights convert)"
                )
        if place.is_file():
            check(weight, place)
            return place
    return None


def places(weight: WeightFile, directory: Path | None) -> list[Path]:
    """Where the file may lie on this machine, in the order in which it is looked for."""
    if weight.shipped:
        return [SHIPPED / weight.filename] if weight.pinned else []
    given = [directory / weight.filename, directory / weight.name / weight.filename] if directory else []
    if weight.filename == GENERIC_NAME:
        given = given[1:]
    return [*given, weight.cached]


def check(weight: WeightFile, path: Path) -> str:
    """The file's sha256. Raises WeightsDamaged if it is not the known or the locked one."""
    found = sha256_of(path)
    locked = None if weight.pinned else weight.locked().get("sha256")
    if not found.startswith(weight.sha256):
        rule = "be" if weight.pinned else "begin with"
        raise WeightsDamaged(f"{path}: sha256 must {rule} {weight.sha256}, is {found}; it was not loaded")
    if locked not in (None, found):
        raise WeightsDamaged(
            f"{path}: sha256 was {locked} when first used ({weight.lock}), is {found}; it was not loaded"
        )
    return found


def _lock(weight: WeightFile, path: Path) -> None:
    if not weight.pinned and not weight.locked():
        lock(weight.lock, sha256_of(path))
        check(weight, path)  # another process may have locked another file in the meantime
