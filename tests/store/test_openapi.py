"""The served OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from sampan.store.api.gateway_routes import ROUTES
from sampan.store.api.openapi import document, document_json, document_yaml


def walk(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)


def test_every_route_is_in_it_and_nothing_else() -> None:
    paths = document()["paths"]
    assert set(paths) == set(ROUTES)
    assert all(set(item) == {"post"} for item in paths.values())


def test_every_reference_leads_somewhere() -> None:
    root = document()
    references = {part["$ref"] for part in walk(root) if "$ref" in part}
    assert references
    for reference in references:
        here: Any = root
        for step in reference.removeprefix("#/").split("/"):
            here = here[step]
        assert isinstance(here, dict), reference


def test_every_schema_is_used() -> None:
    root = document()
    used = {part["$ref"].rpartition("/")[2] for part in walk(root) if "$ref" in part}
    assert set(root["components"]["schemas"]) <= used


def test_every_operation_is_complete_and_its_id_is_its_own() -> None:
    ids = []
    for item in document()["paths"].values():
        operation = item["post"]
        ids.append(operation["operationId"])
        assert operation["summary"] and operation["tags"]
        assert "application/json" in operation["requestBody"]["content"]
        assert {"200", "default"} == set(operation["responses"])
        assert operation["responses"]["200"]["description"]
    assert len(set(ids)) == len(ids)


def test_tags_and_security_are_declared() -> None:
    root = document()
    assert root["openapi"].startswith("3.1.")
    assert root["info"]["title"] and root["info"]["version"]
    declared = {tag["name"] for tag in root["tags"]}
    assert {tag for item in root["paths"].values() for tag in item["post"]["tags"]} == declared
    (scheme,) = root["components"]["securitySchemes"]
    assert {scheme: []} in root["security"]


def test_streams_are_noted() -> None:
    paths = document()["paths"]
    assert "stream" in paths["/v3/watch"]["post"]["description"]
    assert "several requests" in paths["/v3/lease/keepalive"]["post"]["description"]
    assert "description" not in paths["/v3/kv/put"]["post"]
    watch = paths["/v3/watch"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert set(watch["properties"]) == {"result", "error"}


@pytest.mark.parametrize(
    ("message", "field", "expected"),
    [
        ("etcdserverpb.PutRequest", "key", {"type": "string", "contentEncoding": "base64"}),
        ("etcdserverpb.PutRequest", "prev_kv", {"type": "boolean"}),
        (
            "etcdserverpb.RangeResponse",
            "kvs",
            {"type": "array", "items": {"$ref": "#/components/schemas/mvccpb.KeyValue"}},
        ),
    ],
)
def test_fields(message: str, field: str, expected: object) -> None:
    assert document()["components"]["schemas"][message]["properties"][field] == expected


def test_alternatives_are_described() -> None:
    schema = document()["components"]["schemas"]["etcdserverpb.WatchRequest"]
    assert schema["description"] == (
        "At most one of create_request, cancel_request, progress_request."
    )


def test_both_forms_hold_the_same() -> None:
    assert json.loads(document_json()) == yaml.safe_load(document_yaml()) == document()
