"""Reading the tensors of a checkpoint, and nothing else of it; writing them as safetensors."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile, is_zipfile

from t2i_shards.extractors.atomic import create_file, sha256_of

if TYPE_CHECKING:
    from torch import Tensor

STAND_INS = ("mmengine.", "numpy.", "builtins.getattr", "builtins.bytes")
"""Names that begin so, found next to the tensors of a training checkpoint, become `_Nothing`: its history of the
loss names functions by getattr, which is not called either."""

SHARED = 16
"""Times the bytes of its file that a checkpoint may take converted. Networks share a layer or two."""


class NotTensors(ValueError):
    """The file is no checkpoint of named tensors; one line that says what it holds instead."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Name -> tensor of a safetensors file or of a torch checkpoint, under the names they have in the file.

    Its first bytes say which of them it is; only one that is called .safetensors must be that. A checkpoint may
    hold its tensors under "state_dict" (OpenMMLab, PiDiNet) or "model" (MiDaS); other entries are dropped. Never
    runs code from the file: `weights_only`, and what mmengine and numpy leave in a training checkpoint (histories
    of the loss) is replaced by a class that does nothing. Raises NotTensors.
    """
    if path.suffix == ".safetensors" or _begins_as_safetensors(path):
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise NotTensors(
                f"{path} is no safetensors file: it {_show_beginning(path)} ({_first_line(error)}); fetch it "
                "again, or call it .pth if torch.save wrote it"
            ) from error
    checkpoint = _read_checkpoint(path)
    for key in ("state_dict", "model"):
        if isinstance(checkpoint, dict) and isinstance(checkpoint.get(key), dict):
            checkpoint = checkpoint[key]
            break
    return _only_tensors(path, checkpoint)


def save_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file. Raises OSError, with its number, where the system does not take it."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)
    try:
        save_file(tensors, path, metadata)
        path.chmod(mode)  # safetensors replaces the file by one that only its owner may read
    except SafetensorError as error:
        # It has the system's error in its text alone: "… No space left on device (os error 28)".
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None


def convert(source: Path, out: Path, digest: str, record: Callable[[str], None] | None = None) -> int:
    """Write the tensors of `source`, of sha256 `digest`, to the new safetensors file `out`. How many there are.

    Names, shapes, types and values stay as they are, which is read back and compared before `out` appears.
    record: called with its sha256 before it appears, too. Raises NotTensors.
    """
    from safetensors.torch import load_file

    shared = read_tensors(source)
    apart = sum(tensor.numel() * tensor.element_size() for tensor in shared.values())
    size = source.stat().st_size
    if apart > SHARED * size:
        raise NotTensors(
            f"{source} has {size} bytes, and its tensors would take {apart}, more than {SHARED} times as many, "
            "without the memory that they share; it is not converted"
        )
    # Cloned, as tensors of a checkpoint may share their memory, which this format does not know.
    tensors = {name: tensor.contiguous().clone() for name, tensor in shared.items()}
    with create_file(out) as scratch:
        save_tensors(tensors, scratch, {"source": source.name, "source_sha256": digest})
        written = load_file(scratch)
        same = tensors.keys() == written.keys() and all(_same(tensors[name], written[name]) for name in tensors)
        if not same:
            raise NotTensors(f"{source} does not come back the same from a safetensors file")
        if record:
            record(sha256_of(scratch))
    return len(tensors)


def _same(a: Tensor, b: Tensor) -> bool:
    import torch

    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num())


def _read_checkpoint(path: Path) -> Any:
    import torch

    try:
        _refuse_packed(path)
        # The format before torch 1.6 is no zip archive, and cannot be asked for its names.
        named = torch.serialization.get_unsafe_globals_in_checkpoint(path) if is_zipfile(path) else []
        stand_ins: list[Any] = [(_Nothing, name) for name in named if name.startswith(STAND_INS)]
        with torch.serialization.safe_globals(stand_ins):
            return torch.load(path, map_location="cpu", weights_only=True)
    except NotTensors:
        raise
    except Exception as error:  # torch raises errors of its own, of its unpickler, of zipfile and of the system
        raise NotTensors(f"{path} {_explain(path, error)}") from error


def _explain(path: Path, error: Exception) -> str:
    """Why torch has not loaded a file, whose own words advise to load it without `weights_only`."""
    if found := re.search(r"GLOBAL (\S+)", str(error)):
        return (
            f"must hold nothing but tensors, and it names {found[1]}, which is never imported: save its state_dict"
        )
    if _read_beginning(path, 1) in (b"P", b"\x80"):  # of a zip archive, of a pickle
        return (
            "must be a whole checkpoint of torch.save, and it is damaged, cut off or another thing: fetch it again"
        )
    return (
        f"must be a safetensors file or a checkpoint of torch.save, and it {_show_beginning(path)}: "
        "fetch it again, or name another file"
    )


def _begins_as_safetensors(path: Path) -> bool:
    """Whether the length of a header in JSON comes first, and then the header."""
    head = _read_beginning(path, 9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size


def _show_beginning(path: Path) -> str:
    head = _read_beginning(path, 12)
    return f"begins with {head!r}" if head else "is empty"


def _read_beginning(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def _refuse_packed(path: Path) -> None:
    """Raises NotTensors for a zip archive whose members take more than its file: torch stores them as they are."""
    if not is_zipfile(path):
        return
    with ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > path.stat().st_size:
        raise NotTensors(
            f"{path} has {path.stat().st_size} bytes and would unpack to {unpacked}; it is not loaded"
        )


def _only_tensors(path: Path, checkpoint: Any) -> dict[str, Tensor]:
    import torch

    if not isinstance(checkpoint, dict) or not checkpoint:
        raise NotTensors(f"{path} holds {type(checkpoint).__name__}, not named tensors")
    for name, value in checkpoint.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise NotTensors(f"{path} must hold nothing but tensors, {name!r} is {type(value).__name__}")
        if value.layout != torch.strided:
            raise NotTensors(f"{path} must hold nothing but dense tensors, {name!r} is {value.layout}")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise NotTensors(f"{path} holds less of {name!r} than its shape {tuple(value.shape)} says")
    return dict(checkpoint)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


class _Nothing:
    """What a name means that is not to be imported: any arguments, any state, nothing done."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass
