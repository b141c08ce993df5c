"""JSON schemas of the files of paper_tables, from the types that they are read into: an editor completes by them.

A file is not the dump of its type: what its name or a mapping's key says is not repeated in it, and in models.yaml and
protocols.yaml a value stands with its origin, `{value: …, paper|code|assumed: …}` (`catalog.provenance`).
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from pydantic import BaseModel

from benchmark.catalog.papers import LedgerEntry, NamedModel, Paper, Protocol
from benchmark.catalog.protocols import PARTS, UNTAGGED
from benchmark.catalog.provenance import KINDS
from benchmark.catalog.sources import Source
from benchmark.catalog.targets import Target
from benchmark.settings import ModelSpec

Schema = dict[str, Any]
TEXT: Schema = {"type": "string", "minLength": 1}


def file_schemas() -> dict[str, Schema]:
    """Name of a kind of file → its schema."""
    return {
        "paper": Paper.model_json_schema(),
        "target": without(Target, "target", "paper", "published"),
        "ledger": mapping_of(without(LedgerEntry, "id")),
        "datasets": mapping_of(Source.model_json_schema()),
        "models": mapping_of(models_schema()),
        "protocols": with_parts(mapping_of(protocols_schema())),
    }


def without(model: type[BaseModel], *names: str) -> Schema:
    """Schema of a type whose fields `names` stand elsewhere."""
    schema = model.model_json_schema()
    for name in names:
        del schema["properties"][name]
    schema["required"] = [name for name in schema.get("required", ()) if name not in names]
    return schema


def mapping_of(entry: Schema) -> Schema:
    """A file that maps names to entries."""
    definitions = entry.pop("$defs", {})
    return {"type": "object", "additionalProperties": entry, "$defs": definitions}


def with_parts(file: Schema) -> Schema:
    """A file of protocols, and in it the parts that they share: such entries, which extend nothing."""
    entry = deepcopy(file["additionalProperties"])
    for name in ("extends", "recipe_of"):
        del entry["properties"][name]
    return {**file, "properties": {PARTS: {"type": "object", "additionalProperties": entry}}}


def models_schema() -> Schema:
    """An entry of models.yaml: a network's name and demo plain, its options with their origin."""
    spec, named = ModelSpec.model_json_schema(), NamedModel.model_json_schema()
    fields = {**spec["properties"], "begins_from": named["properties"]["begins_from"]}
    plain = {"model": fields.pop("name"), "demo": fields.pop("demo")}
    return tagged(fields, plain, spec.get("$defs", {}), required=["model"])


def protocols_schema() -> Schema:
    """An entry of protocols.yaml. Nothing is required: what `extends` names may have it."""
    schema = without(Protocol, "name", "origins")
    fields = schema["properties"]
    plain = {name: fields.pop(name) for name in UNTAGGED}
    names: Schema = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    described = "Protocols and parts of this file, which extend nothing, whose values hold where none is given"
    plain["extends"] = {**names, "description": f"{described}; the later over the earlier"}
    return tagged(fields, plain, schema["$defs"], required=[])


def tagged(fields: Schema, plain: Schema, definitions: Schema, required: list[str]) -> Schema:
    """An object with `plain` fields and others whose leaves have their origin."""
    marked = {
        f"{name}.tagged": _object({key: _marked(value, definitions) for key, value in part["properties"].items()})
        for name, part in definitions.items()
        if "properties" in part
    }
    properties = {**plain, **{name: _marked(field, definitions) for name, field in fields.items()}}
    return {**_object(properties), "required": required, "$defs": {**deepcopy(definitions), **marked}}


def _object(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _marked(field: Schema, definitions: Schema) -> Schema:
    """One value with its origin, or, where the field has parts, each part with its own."""
    leaf = {
        "type": "object",
        "properties": {"value": field, **dict.fromkeys(KINDS, TEXT)},
        "required": ["value"],
        "additionalProperties": False,
        "minProperties": 2,
        "maxProperties": 2,
    }
    parts = list(_parts(field, definitions))
    described = {"description": field["description"]} if "description" in field else {}
    return {**described, "anyOf": [leaf, *parts]} if parts else {**leaf, **described}


def _parts(field: Schema, definitions: Schema) -> Iterator[Schema]:
    for choice in (field, *field.get("anyOf", ()), *field.get("oneOf", ()), *field.get("allOf", ())):
        name = choice.get("$ref", "").removeprefix("#/$defs/")
        if "properties" in definitions.get(name, {}):
            yield {"$ref": f"#/$defs/{name}.tagged"}
        elif choice.get("type") == "object" and isinstance(choice.get("additionalProperties"), (dict, bool)):
            values = choice["additionalProperties"]
            inner = _marked(values if isinstance(values, dict) else {}, definitions)
            yield {"type": "object", "additionalProperties": inner, "not": {"required": ["value"]}}
