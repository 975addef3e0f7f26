"""How the command line reads values that tyro reads otherwise: optional ones, and several of one type."""

from __future__ import annotations

from dataclasses import replace
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

VALUE_TYPES = ConstructorRegistry()


@VALUE_TYPES.primitive_rule
def _read_optional(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """An option without a default is parsed, and described in completion scripts, as its own type, not as
    "{None}|INT"."""
    kinds = set(get_args(info.type)) - {NoneType}
    if get_origin(info.type) not in (Union, UnionType) or len(kinds) != 1:
        return None
    spec = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(kinds.pop(), info.markers))
    if not isinstance(spec, PrimitiveConstructorSpec):
        return None
    return replace(
        spec,
        is_instance=lambda value: value is None or spec.is_instance(value),
        str_from_instance=lambda value: ["none"] if value is None else spec.str_from_instance(value),
    )


@VALUE_TYPES.primitive_rule
def _read_several(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Several values of one type; where there are none by default, completion scripts say so, and not
    "(default: )"."""
    kinds = get_args(info.type)
    if get_origin(info.type) is not tuple or len(kinds) != 2 or kinds[1] is not Ellipsis:
        return None
    one = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(kinds[0], info.markers))
    if not isinstance(one, PrimitiveConstructorSpec) or one.nargs != 1:
        return None
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"[{one.metavar} [{one.metavar} ...]]",
        instance_from_str=lambda words: tuple(one.instance_from_str([word]) for word in words),
        is_instance=lambda value: isinstance(value, tuple) and all(map(one.is_instance, value)),
        str_from_instance=lambda values: (
            [text for each in values for text in one.str_from_instance(each)] or ["none"]
        ),
        choices=one.choices,
    )
