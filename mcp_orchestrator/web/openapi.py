"""The OpenAPI 3.1 document of the HTTP API, made from its endpoints."""

import re
from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from mcp_orchestrator import __version__
from mcp_orchestrator.web.endpoint import PREFIX, PROBLEM, Endpoint, Problem

Json = dict[str, Any]
_REFERENCE: Final = "#/components/schemas/{model}"


def openapi_document(endpoints: Sequence[Endpoint]) -> Json:
    """Return the document.

    Args:
        endpoints: all there are.
    """
    models: list[type[BaseModel]] = [Problem, *(one.answers for one in endpoints)]
    models += [one.asks for one in endpoints]
    unique = dict.fromkeys(models)
    chosen: list[tuple[type[BaseModel], JsonSchemaMode]] = [(it, "validation") for it in unique]
    refs, schemas = models_json_schema(chosen, ref_template=_REFERENCE)
    paths: dict[str, Json] = {}
    for one in endpoints:
        asked: Json = one.asks.model_json_schema(ref_template=_REFERENCE)
        asked.pop("$defs", None)
        answer = refs[one.answers, "validation"]
        paths.setdefault(PREFIX + one.path, {})[one.method.lower()] = _operation(one, asked, answer)
    asks = {one.asks.__name__ for one in endpoints}
    kept = {name: schema for name, schema in schemas["$defs"].items() if name not in asks}
    return {
        "openapi": "3.1.0",
        "info": {"title": "mcp-orchestrator", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": kept,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"bearer": []}, {}],
    }


def _operation(one: Endpoint, asked: Json, answer: Json) -> Json:
    in_path = re.findall(r"{(\w+)}", one.path)
    properties: dict[str, Json] = asked.get("properties", {})
    required: list[str] = asked.get("required", [])
    parameters = [
        {
            "name": name,
            "in": "path" if name in in_path else "query",
            "required": name in in_path or name in required,
            "schema": schema,
        }
        for name, schema in properties.items()
        if name in in_path or not one.writes
    ]
    operation: Json = {
        "operationId": one.name,
        "summary": one.summary,
        "tags": [one.toolset],
        "parameters": parameters,
        "responses": {
            "200": {"description": "Done.", "content": {"application/json": {"schema": answer}}},
            "default": {
                "description": "Refused, or failed.",
                "content": {PROBLEM: {"schema": {"$ref": _REFERENCE.format(model="Problem")}}},
            },
        },
    }
    if one.writes:
        body = {name: schema for name, schema in properties.items() if name not in in_path}
        needed = [name for name in required if name not in in_path]
        schema = {"type": "object", "properties": body, "required": needed}
        operation["requestBody"] = {
            "required": bool(needed), "content": {"application/json": {"schema": schema}},
        }  # fmt: skip
    return operation
