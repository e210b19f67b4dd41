"""The least value that a JSON schema allows: what a scripted model answers to a decision."""

from typing import Any


def least(schema: dict[str, Any], root: dict[str, Any] | None = None) -> Any:
    """References are looked up in `root`, which is the schema itself by default."""
    root = root or schema
    if "$ref" in schema:
        found = root
        for key in schema["$ref"].removeprefix("#/").split("/"):
            found = found[key]
        return least(found, root)
    for key in ("anyOf", "oneOf", "allOf", "enum"):
        if key in schema:
            return schema[key][0] if key == "enum" else least(schema[key][0], root)
    return schema["const"] if "const" in schema else _by_type(schema, root)


def _by_type(schema: dict[str, Any], root: dict[str, Any]) -> Any:
    match schema.get("type", "object"):
        case "integer" | "number":
            return schema.get("minimum", 7)
        case "boolean":
            return True
        case "string":
            return "ok".ljust(schema.get("minLength", 0), "k")
        case "array":
            return [least(schema["items"], root)] * (schema.get("minItems") or 1)
        case "object":
            return {name: least(item, root) for name, item in schema.get("properties", {}).items()}
        case _:
            return None
