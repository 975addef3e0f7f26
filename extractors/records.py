"""Reading JSON that anyone may have written: types, ranges and depth are checked as it is decoded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, TypeVar

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""Not negative, and small enough for every reader of JSON."""
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**53)]

T = TypeVar("T")


class BadRecord(ValueError):
    """The bytes are not the record they should be. One line that says why."""


def decode_record(data: bytes | memoryview, kind: type[T], closed: bool = False) -> T:
    """The JSON in `data` as a `kind`: a dataclass, or a type such as dict[str, int]. Raises BadRecord.

    Text in place of a number, a number out of the range that an Annotated type gives, and nesting deeper than the
    interpreter can follow are all refused. Fields that a dataclass does not know are ignored, or refused if it is
    `closed`.
    """
    try:
        if not closed:
            return msgspec.json.decode(data, type=kind)
        return convert_record(msgspec.json.decode(data), kind, closed=True)
    except msgspec.ValidationError as error:
        raise BadRecord(f"must have its format ({error})") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if b"NaN" in bytes(data) or b"Infinity" in bytes(data):
            return convert_record(_parse_nan(data), kind, closed)
        raise BadRecord(f"must be JSON ({error})") from None


def convert_record(record: Any, kind: type[T], closed: bool = False) -> T:
    """`decode_record` for what is decoded already. Raises BadRecord."""
    if closed and is_dataclass(kind) and isinstance(record, Mapping):
        for name in record.keys() - {field.name for field in fields(kind)}:
            raise BadRecord(f"must have no field {str(name)[:100]!r}")
    try:
        return msgspec.convert(record, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise BadRecord(f"must have its format ({error})") from None


def _parse_nan(data: bytes | memoryview) -> Any:
    """JSON with the bare NaN and Infinity that Python writes and JSON does not allow. Raises BadRecord."""
    try:
        record = json.loads(bytes(data))
        json.dumps(record, ensure_ascii=False).encode()  # lone surrogates, which cannot be printed or stored
    except (ValueError, RecursionError) as error:
        raise BadRecord(f"must be JSON ({error})") from None
    return record
