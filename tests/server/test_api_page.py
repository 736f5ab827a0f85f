"""The page about the API lists what there is, and the document is complete."""

import pathlib
import re

import jsonschema_rs
import pytest

from pilothouse.governance.identity.permissions import Permission
from pilothouse.server.api.openapi import document
from pilothouse.server.api.routes import ROUTES

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "reference" / "api.md").read_text()
DOCUMENT = document(ROUTES)


def test_the_page_lists_every_route_with_its_parameters_and_permission():
    rows = set(re.findall(r"^\| `(\S+ [^`]+)` \| .*? \| (\S+) \|", PAGE, re.MULTILINE))
    expected = set()
    for route in ROUTES:
        query = "&".join(route.query.__struct_encode_fields__)
        expected.add((f"{route.method} {route.path}" + (f"?{query}" if query else ""), route.permission.value))
    assert rows == expected


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: r.name)
def test_every_operation_says_what_can_go_wrong(route):
    operation = DOCUMENT["paths"][route.path][route.method.lower()]
    answers = operation["responses"]
    assert str(route.status) in answers
    assert {"400", "500", "503"} <= set(answers)
    assert ("401" in answers) is (route.permission is not Permission.PUBLIC)
    assert ("415" in answers) is (route.body is not None)
    for error in route.errors:
        assert error.code in answers[str(error.status)]["description"]


def test_every_reference_in_the_document_leads_somewhere():
    text = str(DOCUMENT)
    names = set(re.findall(r"#/components/schemas/([A-Za-z0-9_\[\]]+)", text))
    assert names <= set(DOCUMENT["components"]["schemas"])
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema_rs.validator_for({**schema, "components": DOCUMENT["components"]})
