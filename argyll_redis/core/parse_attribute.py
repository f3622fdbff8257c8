"""From the attribute specs of a definition to attributes, and what is refused about them.

One function a role: each reads the object named after its role, and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from argyll_redis.core.limits import (
    MAX_ATTRIBUTES,
    MAX_DURATION_MS,
    MAX_JPATH_BYTES,
    MAX_NAME_CHARS,
    MAX_SCRIPT_BYTES,
    MAX_STEP_BYTES,
)
from argyll_redis.core.model import (
    JSON,
    Attribute,
    AttributeType,
    Collect,
    Mapping_,
    Role,
    Script,
)
from argyll_redis.core.reader import Reader, has_controls
from argyll_redis.core.values import parse, shown, type_matches
from argyll_redis.errors import InvalidInput, ScriptError

_LISTS = (None, AttributeType.ARRAY, AttributeType.ANY)
"""The declared types that a list may have."""


def read_attributes(reader: Reader) -> dict[str, Attribute]:
    """Reads the map of attribute name to spec, in name order."""
    specs = reader.section("attributes")
    if specs is None:
        return {}
    if len(specs.given) > MAX_ATTRIBUTES:
        specs.refuse("", f"{len(specs.given):,} attributes", f"use at most {MAX_ATTRIBUTES:,}")
        return {}
    found = (_read_attribute(specs, name) for name in sorted(specs.given))
    attributes = {attribute.name: attribute for attribute in found if attribute}
    _check_inner_names(specs, attributes)
    _check_lists(specs, attributes)
    return attributes


def _read_attribute(specs: Reader, name: str) -> Attribute | None:
    if not 0 < len(name) <= MAX_NAME_CHARS or has_controls(name):
        specs.refuse(shown(name), "is not a name", f"use 1 to {MAX_NAME_CHARS} plain characters")
        return None
    if specs.given[name] is None:
        specs.refuse(name, "is not an object", "use {...}")
    spec = specs.section(name)
    if spec is None:
        return None
    role = spec.choice("role", Role, needed=True)
    declared = spec.choice("type", AttributeType)
    if role is None:
        return None
    attribute = _read_role(spec, role, name, declared)
    spec.finish()
    return attribute


def _read_role(spec: Reader, role: Role, name: str, declared: AttributeType | None) -> Attribute:
    for other in Role:
        if other is not role and spec.get(other) is not None:
            spec.refuse(other, f"belongs to the role {other}, and the role is {role}", f"use `{role}`")
    given = spec.section(role) or spec.within(role, {})
    attribute = _READ[role](given, name, declared)
    given.finish()
    return attribute


# ---------------------------------------------------------------------- roles


def _read_required(given: Reader, name: str, declared: AttributeType | None) -> Attribute:
    return Attribute(
        name=name,
        role=Role.REQUIRED,
        type=declared,
        collect=given.choice("collect", Collect) or Collect.FIRST,
        for_each=_read_for_each(given, declared),
        match=read_script(given, "match", "match"),
        mapping=_read_mapping(given),
    )


def _read_optional(given: Reader, name: str, declared: AttributeType | None) -> Attribute:
    collect = given.choice("collect", Collect) or Collect.FIRST
    return Attribute(
        name=name,
        role=Role.OPTIONAL,
        type=declared,
        collect=collect,
        for_each=_read_for_each(given, declared),
        mapping=_read_mapping(given),
        default=_read_literal(given, "default", _types_got(declared, collect)),
        deadline_ms=given.whole("deadline", least=0, most=MAX_DURATION_MS, default=0),
    )


def _read_const(given: Reader, name: str, declared: AttributeType | None) -> Attribute:
    given.needed("value", mend="""a const holds JSON as text, such as "5" or "\\"text\\"" """.strip())
    value = _read_literal(given, "value", (declared,))
    return Attribute(name=name, role=Role.CONST, type=declared, value=value)


def _read_meta(given: Reader, name: str, declared: AttributeType | None) -> Attribute:
    given.filled("key", mend="use flow_id, step_id, receipt_token, webhook_url, attempt or a metadata key")
    key = given.word("key") or None
    return Attribute(name=name, role=Role.META, type=declared, key=key)


def _read_output(given: Reader, name: str, declared: AttributeType | None) -> Attribute:
    return Attribute(name=name, role=Role.OUTPUT, type=declared, mapping=_read_mapping(given))


_READ: Mapping[Role, Callable[[Reader, str, AttributeType | None], Attribute]] = {
    Role.REQUIRED: _read_required,
    Role.OPTIONAL: _read_optional,
    Role.CONST: _read_const,
    Role.META: _read_meta,
    Role.OUTPUT: _read_output,
}

# --------------------------------------------------------------------- fields


def _read_for_each(given: Reader, declared: AttributeType | None) -> bool:
    for_each = given.flag("for_each")
    if for_each and declared not in _LISTS:
        given.refuse("for_each", f"needs a list, and the type is {declared}", "use array, any or no type")
    return for_each


def _types_got(declared: AttributeType | None, collect: Collect) -> tuple[AttributeType | None, ...]:
    """The types that a step may get: `some` and `all` give a list of values of the declared one."""
    return (declared, AttributeType.ARRAY) if collect in (Collect.SOME, Collect.ALL) else (declared,)


def _read_literal(given: Reader, name: str, declared: Iterable[AttributeType | None]) -> str | None:
    text = given.get(name)
    if text is None:
        return None
    if not isinstance(text, str):
        given.refuse(name, "is not a text that holds JSON", f"write it as text, such as {_as_literal(text)}")
        return None
    try:
        value = parse(text)
    except InvalidInput as error:
        mend = "" if text.startswith(("{", "[")) else 'text needs quotes of its own: "\\"text\\""'
        given.refuse(name, f"does not hold JSON ({error})", mend)
        return None
    if not any(type_matches(kind, value) for kind in declared):
        given.refuse(name, f"does not hold a value of type {next(iter(declared))}", "change it or the type")
    return text


def _as_literal(value: JSON) -> str:
    return f'"{value}"' if isinstance(value, int | float) and not isinstance(value, bool) else '"[1, 2]"'


def _read_mapping(given: Reader) -> Mapping_ | None:
    mapping = given.section("mapping")
    if mapping is None:
        return None
    name = mapping.word("name") or None
    script = read_script(mapping, "script", "mapping")
    if mapping.given.get("name") in (None, "") and mapping.given.get("script") is None:
        mapping.refuse("", "is empty", "give a `name`, a `script` or both")
    mapping.finish()
    return Mapping_(name=name, script=script)


def read_script(reader: Reader, name: str, purpose: str) -> Script | None:
    """Reads `{language, script}` and compiles it for its purpose, where the reader can."""
    given = reader.section(name)
    if given is None:
        return None
    given.filled("language", mend="use lua or jpath")
    given.filled("script", mend="write an expression")
    language, source = given.word("language"), given.text("script", most=MAX_STEP_BYTES)
    given.finish()
    if not language or not source:
        return None
    script = Script(language=language, script=source)
    if _fits(given, script) and reader.compile_script is not None:
        try:
            reader.compile_script(script, purpose)
        except ScriptError as error:
            reader.refuse(name, f"the script does not compile: {error}")
    return script


def _fits(given: Reader, script: Script) -> bool:
    size_bytes = len(script.script.encode())
    most = MAX_JPATH_BYTES if script.language == "jpath" else MAX_SCRIPT_BYTES
    if size_bytes > most:
        given.refuse("script", f"{size_bytes:,} bytes of source", f"use at most {most:,}")
    return size_bytes <= most


# ------------------------------------------------------------------- together


def _check_inner_names(specs: Reader, attributes: Mapping[str, Attribute]) -> None:
    """Two inputs, or two outputs, may not share an inner name: the step's code sees only that."""
    seen: dict[tuple[bool, str], str] = {}
    for attribute in attributes.values():
        side = (attribute.role is Role.OUTPUT, attribute.inner)
        other = seen.setdefault(side, attribute.name)
        if other != attribute.name:
            what = f"has the inner name `{attribute.inner}`, as `{other}` has"
            specs.refuse(attribute.name, what, "give one of them another mapping name")


def _check_lists(specs: Reader, attributes: Mapping[str, Attribute]) -> None:
    """What a `for_each` step provides is a list, so no other type can be declared for it."""
    if not any(attribute.for_each for attribute in attributes.values()):
        return
    for attribute in attributes.values():
        if attribute.role is Role.OUTPUT and attribute.type not in _LISTS:
            what = f"the type is {attribute.type}, and an output of a `for_each` step is a list"
            specs.refuse(f"{attribute.name}.type", what, "use array, any or no type")


def inner_names(attributes: Mapping[str, Attribute], roles: Iterable[Role]) -> set[str]:
    """The names that a step's code sees for attributes of these roles."""
    wanted = set(roles)
    return {attribute.inner for attribute in attributes.values() if attribute.role in wanted}
