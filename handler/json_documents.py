"""Strict reading of JSON documents into frozen dataclasses: no member may be missing, unknown or of another type."""

import contextlib
import dataclasses
import json
import math
import types
from collections.abc import Mapping
from enum import Enum
from typing import TypeVar, Union, cast, get_args, get_origin, get_type_hints

from calpow.handler.errors import DecodingError

T = TypeVar("T")


def read_document(kind: type[T], text: str, schema: int, name: str) -> T:
    """Return the dataclass `kind` of a JSON object whose member `schema` has this value.

    `name` is what error messages call the document. Raises DecodingError.
    """
    document = parse_object(text, schema, name)
    try:
        return decode(kind, document)
    except DecodingError as error:
        raise DecodingError(f"{name}: {error}") from error


def parse_object(text: str, schema: int, name: str) -> Mapping[str, object]:
    """Parse a JSON object whose member `schema` has this value; the other members are not checked.

    Raises DecodingError. Another schema is reported before anything else: its members would be reported as missing.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DecodingError(f"{name} cannot be read: it is not JSON ({error})") from error
    if not isinstance(document, dict):
        raise DecodingError(f"{name} is not a JSON object")
    if "schema" not in document:
        raise DecodingError(f"{name}: schema is missing")
    version = document["schema"]
    if type(version) is not int:
        raise DecodingError(f"{name}: schema must be of type int")
    if version != schema:
        raise DecodingError(f"{name} has schema {version}, this version reads {schema}")
    return document


def decode(kind: type[T], value: object, name: str = "") -> T:
    """Return the dataclass `kind` of parsed JSON; `name` is the path of `value` in its document.

    Fields may be bool, int, float (finite), str, string enumerations, dataclasses, unions of scalars, of None, an
    enumeration, a dataclass or a tuple, `tuple[X, ...]` and `Mapping[str, X]`. Raises DecodingError for a missing or
    unknown member or another type.
    """
    return cast(T, _decode(kind, value, name))


def _decode(kind: object, value: object, name: str) -> object:
    origin = get_origin(kind)
    if origin is tuple:
        return _decode_tuple(get_args(kind)[0], value, name)
    if origin is Mapping:
        members = _members(value, name)
        return {key: _decode(get_args(kind)[1], member, f"{name}.{key}") for key, member in members.items()}
    if origin in (Union, types.UnionType):
        return _decode_union(get_args(kind), value, name)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _decode_dataclass(kind, value, name)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _decode_enum(kind, value, name)
    return _decode_scalar(kind, value, name)


def _members(value: object, name: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise DecodingError(f"{name or 'the document'} must be an object")
    return value


def _decode_dataclass(kind: type, value: object, name: str) -> object:
    members = _members(value, name)
    hints = get_type_hints(kind)
    prefix = f"{name}." if name else ""
    for unknown in members.keys() - hints.keys():
        raise DecodingError(f"{prefix}{unknown} is not known")
    for missing in hints.keys() - members.keys():
        raise DecodingError(f"{prefix}{missing} is missing")
    return kind(**{key: _decode(hint, members[key], f"{prefix}{key}") for key, hint in hints.items()})


def _decode_tuple(kind: object, value: object, name: str) -> object:
    if not isinstance(value, list):
        raise DecodingError(f"{name} must be a list")
    return tuple(_decode(kind, entry, f"{name}[{index}]") for index, entry in enumerate(value))


def _decode_union(kinds: tuple[object, ...], value: object, name: str) -> object:
    if value is None and types.NoneType in kinds:
        return None
    for kind in kinds:
        is_structured = get_origin(kind) is tuple or (
            isinstance(kind, type) and (issubclass(kind, Enum) or dataclasses.is_dataclass(kind))
        )
        if type(value) is kind or is_structured:
            return _decode(kind, value, name)
    raise DecodingError(f"{name} must be one of {', '.join(getattr(kind, '__name__', '?') for kind in kinds)}")


def _decode_enum(kind: type[Enum], value: object, name: str) -> object:
    try:
        return kind(value)
    except ValueError:
        allowed = ", ".join(str(member.value) for member in kind)
        raise DecodingError(f"{name} must be one of: {allowed}") from None


def _decode_scalar(kind: object, value: object, name: str) -> object:
    if kind is float and type(value) in (int, float):
        # json.loads reads NaN and Infinity, 1e999, and integers that no float holds.
        with contextlib.suppress(OverflowError):
            number = float(cast(float, value))
            if math.isfinite(number):
                return number
        raise DecodingError(f"{name} must be a finite number")
    if type(value) is kind:
        return value
    raise DecodingError(f"{name} must be of type {getattr(kind, '__name__', kind)}")
