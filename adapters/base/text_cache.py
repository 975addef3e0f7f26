"""A cache of what the text encoders make of captions: a training runs them once per caption, not per visit.

An entry is found by what the encoders read: sha256 of the caption's tokens, in a folder named by the encoders'
digest, so that no other base's can be taken for it. It is kept in the encoders' own dtype: in a float32 training
rounding it to half the bytes would make the cached run another run than the uncached one. On the CPU `Base.embed`
takes captions one by one, and so the two are equal bit for bit.

FOLDER/<digest of the encoders>/<digest of the keys>.safetensors   keys, digests, states, pooled: a row per caption
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from t2i_shards.adapters.base import Base, PromptEmbeds, concat_embeds, digest_networks
from t2i_shards.extractors.atomic import replace_file
from t2i_shards.extractors.weights.checkpoints import save_tensors
from t2i_shards.pipeline.errors import describe_error

MEMORY_BYTES = 1_000_000_000
SHARD_BYTES = 64_000_000
KINDS = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
"""What safetensors calls the types that encoders have."""

log = logging.getLogger(__name__)


class TextCache:
    """`embed` as the base's own, from memory, else from the folder, else from the text encoders.

    memory_bytes: the entries not used for longest are forgotten. folder_bytes: bound of all files in the folder,
    those of other bases too; a full folder is only read. shard_bytes: new entries that make a file. hits, misses:
    captions that were and were not found. An entry that is damaged is a miss, and its file is removed. Several
    processes may use one folder.
    """

    def __init__(
        self,
        base: Base,
        folder: Path | None = None,
        folder_bytes: int = 0,
        memory_bytes: int = MEMORY_BYTES,
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        self.hits = self.misses = 0
        self._base = base
        self._memory: OrderedDict[bytes, PromptEmbeds] = OrderedDict()
        self._memory_left = memory_bytes
        self._new: dict[bytes, PromptEmbeds] = {}
        self._new_bytes = 0
        self._shard_bytes = shard_bytes
        self._folder_bytes = folder_bytes
        self._root = folder
        self._folder = folder and folder / digest_text(base)
        self._places: dict[bytes, tuple[Path, int]] = {}
        for file in sorted(self._folder.glob("*.safetensors")) if self._folder else ():
            self._places.update(self._index(file))

    def embed(self, captions: Sequence[str]) -> PromptEmbeds:
        """The captions' embeddings, on the base's device."""
        tokens = self._base.tokenize(captions)
        keys = [hashlib.sha256(ids.numpy().tobytes()).digest() for ids in tokens]
        found: dict[bytes, PromptEmbeds] = {}
        missing: dict[bytes, torch.Tensor] = {}
        for key, ids in zip(keys, tokens, strict=True):
            prompt_embeds = self._find(key)
            if prompt_embeds is None:
                missing[key] = ids
            else:
                found[key] = prompt_embeds
        self.misses += sum(key in missing for key in keys)
        self.hits += sum(key in found for key in keys)
        if missing:
            found.update(zip(missing, self._make(list(missing.values())), strict=True))
            self._add({key: found[key] for key in missing})
        for key in keys:
            self._remember(key, found[key])
        return concat_embeds([found[key] for key in keys]).map(lambda tensor: tensor.to(self._base.device))

    def flush(self) -> None:
        """Write what is new into the folder, as one file that appears whole, unless that would be too much.

        A folder that cannot be written is logged once, and the cache is then kept in memory alone.
        """
        new, size = self._new, self._new_bytes
        self._new, self._new_bytes = {}, 0
        if not new or self._root is None or self._folder is None:
            return
        try:
            self._write(new, size)
        except OSError as error:
            log.warning("text cache: nothing more is written to it: %s", describe_error(error))
            self._root = None

    def _write(self, new: dict[bytes, PromptEmbeds], size: int) -> None:
        assert self._root is not None
        assert self._folder is not None
        if sum(file.stat().st_size for file in self._root.rglob("*.safetensors")) + size > self._folder_bytes:
            return
        prompt_embeds = concat_embeds(list(new.values()))
        tensors = {
            "keys": torch.stack([_row(key) for key in new]),
            "digests": torch.stack([_row(_digest(key, entry)) for key, entry in new.items()]),
            "states": prompt_embeds.states,
        }
        if prompt_embeds.pooled is not None:
            tensors["pooled"] = prompt_embeds.pooled
        file = self._folder / f"{hashlib.sha256(b''.join(new)).hexdigest()[:24]}.safetensors"
        with replace_file(file) as scratch:
            save_tensors(tensors, scratch)
        self._places.update({key: (file, row) for row, key in enumerate(new)})

    def _make(self, tokens: Sequence[torch.Tensor]) -> list[PromptEmbeds]:
        made = self._base.embed_tokens(torch.stack(list(tokens))).map(torch.Tensor.cpu)
        pooled = [None] * len(tokens) if made.pooled is None else made.pooled.split(1)
        # Cloned: a row that is kept must not keep the others.
        return [
            PromptEmbeds(states, row).map(torch.Tensor.clone)
            for states, row in zip(made.states.split(1), pooled, strict=True)
        ]

    def _add(self, new: dict[bytes, PromptEmbeds]) -> None:
        if self._root is None:
            return
        self._new.update(new)
        self._new_bytes += sum(map(_bytes, new.values()))
        if self._new_bytes >= self._shard_bytes:
            self.flush()

    def _find(self, key: bytes) -> PromptEmbeds | None:
        for kept in (self._memory, self._new):
            if key in kept:
                return kept[key]
        return self._read(key)

    def _remember(self, key: bytes, prompt_embeds: PromptEmbeds) -> None:
        if key in self._memory:
            self._memory.move_to_end(key)
            return
        self._memory[key] = prompt_embeds
        self._memory_left -= _bytes(prompt_embeds)
        while self._memory_left < 0:
            self._memory_left += _bytes(self._memory.popitem(last=False)[1])

    def _index(self, file: Path) -> dict[bytes, tuple[Path, int]]:
        try:
            with safe_open(file, "pt") as tensors:
                self._check_form(tensors)
                keys = tensors.get_tensor("keys")
        except (SafetensorError, OSError, ValueError) as error:
            self._discard(file, str(error))
            return {}
        return {key.numpy().tobytes(): (file, row) for row, key in enumerate(keys)}

    def _check_form(self, tensors: Any) -> None:
        """Raises ValueError unless the tensors have the names, types and shapes that are written here."""
        embeds, rows = self._base.embeds_form, tensors.get_slice("keys").get_shape()[:1]
        kind = KINDS[embeds.states.dtype]
        form = {name: ("U8", [*rows, hashlib.sha256().digest_size]) for name in ("keys", "digests")}
        form["states"] = (kind, [*rows, *embeds.states.shape[1:]])
        if embeds.pooled is not None:
            form["pooled"] = (kind, [*rows, *embeds.pooled.shape[1:]])
        slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118
        found = {name: (part.get_dtype(), part.get_shape()) for name, part in slices.items()}
        if found != form:
            raise ValueError("its tensors are not those of these encoders")

    def _read(self, key: bytes) -> PromptEmbeds | None:
        if key not in self._places:
            return None
        file, row = self._places[key]
        rows = slice(row, row + 1)
        try:
            with safe_open(file, "pt") as tensors:
                self._check_form(tensors)
                pooled = tensors.get_slice("pooled")[rows] if "pooled" in tensors.keys() else None  # noqa: SIM118
                prompt_embeds = PromptEmbeds(tensors.get_slice("states")[rows], pooled).map(torch.Tensor.clone)
                digest = tensors.get_slice("digests")[rows]
        except (SafetensorError, OSError, ValueError, IndexError) as error:
            self._discard(file, str(error))
            return None
        if digest.numpy().tobytes() != _digest(key, prompt_embeds):
            self._discard(file, f"row {row} is not what was written")
            return None
        return prompt_embeds

    def _discard(self, file: Path, reason: str) -> None:
        log.warning("text cache: %s is damaged, and its captions are embedded again: %s", file, reason)
        with suppress(OSError):  # it may lie where nothing can be written
            file.unlink()
        self._places = {key: place for key, place in self._places.items() if place[0] != file}


def digest_text(base: Base) -> str:
    """Of all that decides a caption's embeddings once it is tokens: the encoders, and the device that rounds."""
    networks = {name: network for name, network in base.networks.items() if name.startswith("text_encoder")}
    return f"{digest_networks(networks)[:32]}-{base.device.type}"


def _digest(key: bytes, prompt_embeds: PromptEmbeds) -> bytes:
    digest = hashlib.sha256(key)
    for tensor in (prompt_embeds.states, prompt_embeds.pooled):
        if tensor is not None:
            digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.digest()


def _row(key: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(key), dtype=torch.uint8)


def _bytes(prompt_embeds: PromptEmbeds) -> int:
    return sum(t.nbytes for t in (prompt_embeds.states, prompt_embeds.pooled) if t is not None)
