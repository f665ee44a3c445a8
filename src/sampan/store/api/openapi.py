"""The OpenAPI document of the JSON gateway, made from the protobuf descriptors and the routes.

Source: OpenAPI Specification 3.1.0 (spec.openapis.org/oas/v3.1.0).
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from sampan.store.api.gateway_routes import ROUTES, Route
from sampan.store.core.version import SERVER_VERSION

__all__ = ["document", "document_json", "document_yaml"]

_INT64 = {"type": "string", "pattern": "^-?[0-9]+$", "format": "int64"}
_UINT64 = {"type": "string", "pattern": "^[0-9]+$", "format": "uint64"}
_SCALARS: dict[int, dict[str, Any]] = {
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    FieldDescriptor.TYPE_UINT64: _UINT64,
}

_TAGS = {
    "KV": "Keys and values.",
    "Watch": "Changes of keys as they happen.",
    "Lease": "Keys that live as long as their lease is renewed.",
    "Cluster": "The members of the cluster.",
    "Maintenance": "Alarms, space, snapshots.",
    "Auth": "Users, roles and tokens.",
    "Election": "Leadership among clients.",
    "Lock": "Locks among clients. The key of a lock carries the revision that fences its holder.",
}
_STREAM_NOTE = (
    "The response is a stream: one JSON object to a line, `result` with a response or `error` "
    "with the status that ended the stream."
)
_REQUESTS_NOTE = "The body may hold several requests, one JSON object after the other."
_DESCRIPTION = (
    "The etcd v3 API over HTTP. Every call is a POST with a JSON body. Bytes (keys, values) are "
    "base64; 64-bit integers are strings, numbers are accepted; fields without a value are left "
    "out of responses."
)


@cache
def document_json() -> bytes:
    """Return the document as JSON text."""
    return json.dumps(document(), indent=1).encode()


@cache
def document_yaml() -> bytes:
    """Return the document as YAML text."""
    import yaml

    # Through JSON, so that nothing is written as a reference to an equal value before it.
    value = json.loads(document_json())
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).encode()


def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document as a JSON value."""
    schemas: dict[str, Any] = {"Error": _error_schema(), "StreamError": _stream_error_schema()}
    paths = {route.path: {"post": _operation(route, schemas)} for route in ROUTES.values()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "etcd v3 API", "version": SERVER_VERSION, "description": _DESCRIPTION},
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "responses": {
                "Error": {
                    "description": "The call failed; `code` is the gRPC status code.",
                    "content": {"application/json": {"schema": _reference("Error")}},
                }
            },
            "securitySchemes": {
                "token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "The token that /v3/auth/authenticate answers.",
                }
            },
        },
    }


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    request = _schema(route.method.input_type, schemas)
    response = _schema(route.method.output_type, schemas)
    notes = []
    if route.method.client_streaming:
        notes.append(_REQUESTS_NOTE)
    content: dict[str, Any] = {"application/json": {"schema": response}}
    if route.method.server_streaming:
        notes.append(_STREAM_NOTE)
        content = {"application/json": {"schema": _stream_schema(response)}}
    operation: dict[str, Any] = {
        "operationId": "_".join((route.service, route.method.name, *_alias(route.path))),
        "tags": [route.service],
        "summary": route.summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
        "responses": {
            "200": {"description": "The call succeeded.", "content": content},
            "default": {"$ref": "#/components/responses/Error"},
        },
    }
    if notes:
        operation["description"] = " ".join(notes)
    return operation


def _alias(path: str) -> tuple[str, ...]:
    """Return what makes the operation id of a path unique that is served for older clients."""
    return ("old",) if path.startswith("/v3/kv/lease/") else ()


def _stream_schema(response: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"result": response, "error": _reference("StreamError")},
    }


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _schema(message: Descriptor, schemas: dict[str, Any]) -> dict[str, Any]:
    """Return a reference to the message's schema, which is added to `schemas` with all it needs."""
    if message.full_name not in schemas:
        properties: dict[str, Any] = {}
        # Entered before its fields: a transaction holds transactions.
        schemas[message.full_name] = {"type": "object", "properties": properties}
        for field in message.fields:
            properties[field.name] = _field(field, schemas)
        choices = [
            f"At most one of {', '.join(field.name for field in oneof.fields)}."
            for oneof in message.oneofs
        ]
        if choices:
            schemas[message.full_name]["description"] = " ".join(choices)
    return _reference(message.full_name)


def _field(field: FieldDescriptor, schemas: dict[str, Any]) -> dict[str, Any]:
    if field.message_type is not None:
        schema = _schema(field.message_type, schemas)
    elif field.enum_type is not None:
        schema = _enum(field.enum_type, schemas)
    else:
        schema = dict(_SCALARS[field.type])
    return {"type": "array", "items": schema} if field.is_repeated else schema


def _enum(enum: EnumDescriptor, schemas: dict[str, Any]) -> dict[str, Any]:
    names = [value.name for value in enum.values]
    schemas[enum.full_name] = {"type": "string", "enum": names, "default": names[0]}
    return _reference(enum.full_name)


def _error_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["error", "code", "message"],
        "properties": {
            "error": {"type": "string", "description": "The same as message."},
            "code": {"type": "integer", "description": "gRPC status code."},
            "message": {"type": "string"},
        },
    }


def _stream_error_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "code": {"type": "integer", "description": "gRPC status code."},
            "message": {"type": "string"},
            "grpc_code": {"type": "integer"},
            "http_code": {"type": "integer"},
            "http_status": {"type": "string"},
        },
    }
