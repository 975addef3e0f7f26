"""Ways to alter a file that is read back, for generative tests."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from t2i_shards.pipeline.shards.table import encode_table

SHALLOW = (b"", b"{", b"null", b"[1, 2]", b"<html>", b"\xff\xfe\x00", b"PAR1PAR1", bytes(2000), b"1e999", b"NaN")
RAW = st.sampled_from([*SHALLOW, b'"\\ud800"', b"9" * 6000, b"[" * 200_000, b'{"a":' * 200_000])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 1)
    | st.sampled_from([2**31, 2**53, 2**63, 10**30, -(2**63)])
    | st.floats()
    | st.sampled_from(["", "x", "-1", "../../x", "/etc/passwd", "\ud800", "\u202e", "a\x1b[2J", "a" * 5000]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


@st.composite
def changed_bytes(draw: st.DrawFn, whole: bytes) -> bytes:
    """Cut, or with some bytes changed."""
    if draw(st.booleans()):
        return whole[: draw(st.integers(0, max(0, len(whole) - 1)))]
    data = bytearray(whole)
    for place in draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
        data[place] = draw(st.integers(0, 255))
    return bytes(data)


@st.composite
def changed_json(draw: st.DrawFn, whole: bytes) -> bytes:
    """With an entry, wherever in it, removed, replaced or added."""
    record = json.loads(whole)
    place: Any = record
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw(st.sampled_from(keys)) if keys else "more"
        if not isinstance(place, dict) and not keys:
            place.append(draw(VALUES))
            break
        if keys and isinstance(place[key], dict | list) and draw(st.booleans()):
            place = place[key]
            continue
        how = draw(st.sampled_from(["remove", "replace", "replace", "replace", "add"]))
        if how == "remove" and keys:
            del place[key]
        elif how == "add" and isinstance(place, dict):
            place["more"] = draw(VALUES)
        else:
            place[key] = draw(VALUES)
        break
    return json.dumps(record).encode()


@st.composite
def changed_table(draw: st.DrawFn, whole: bytes) -> bytes:
    """With a column dropped, emptied or replaced, rows dropped or doubled."""
    table = pq.read_table(io.BytesIO(whole), use_threads=False)
    how = draw(st.sampled_from(["column", "column", "column", "rows", "twice", "drop", "nothing"]))
    if how == "rows":
        return encode_table(table.slice(draw(st.integers(0, len(table)))))
    if how == "twice":
        return encode_table(pa.concat_tables([table, table]))
    if how == "nothing":
        return encode_table(pa.table({}))
    name = draw(st.sampled_from(table.column_names))
    if how == "drop":
        return encode_table(table.drop_columns([name]))
    of = table.schema.field(name).type
    odd = [None, -7, 2**62, 1.5, float("nan"), "x\u202e/../", b"\xff\xfe", [[1]], {"a": 1}, True]
    value = draw(st.sampled_from(odd))
    column = pa.nulls(len(table), of) if value is None else pa.array([value] * len(table))
    return encode_table(table.set_column(table.column_names.index(name), name, column))


@st.composite
def changed_tensors(draw: st.DrawFn, whole: bytes) -> bytes:
    """A safetensors file with a tensor dropped, renamed, or replaced by one of another shape, type or value."""
    tensors = load(whole)
    name = draw(st.sampled_from(sorted(tensors)))
    old = tensors.pop(name)
    shape = draw(st.sampled_from([tuple(old.shape), (*old.shape, 1), (0,), (), (1,), (3, 5), (1, 1, 1, 1)]))
    kind = draw(st.sampled_from([old.dtype, old.dtype, torch.bfloat16, torch.int64, torch.bool, torch.uint8]))
    value = draw(st.sampled_from([0.0, 1.0, -1e30, float("nan"), float("inf")]))
    how = draw(st.sampled_from(["drop", "rename", "replace", "replace", "replace", "again"]))
    if how == "rename":
        tensors[draw(st.sampled_from(["x", f"{name}.x", "0.exp_avg", "99.step", "\u202e"]))] = old
    elif how != "drop":
        finite = value if kind.is_floating_point else abs(value) == 1.0
        tensors[name if how == "replace" else f"{name}2"] = torch.full(shape, finite).to(kind)
    return save(tensors, {"format": "pt"})


@st.composite
def changed_header(draw: st.DrawFn, whole: bytes) -> bytes:
    """A safetensors file whose JSON header was altered, its length with it."""
    length = int.from_bytes(whole[:8], "little")
    header = draw(RAW | changed_json(whole[8 : 8 + length]))
    return len(header).to_bytes(8, "little") + header + whole[8 + length :]


QUICK = settings(
    deadline=None,
    database=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
