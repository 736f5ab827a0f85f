"""The reference program can be had and answers without an engine."""

import pytest

from tests.compose import reference

pytestmark = pytest.mark.slow


def test_the_reference_reads_a_document_without_an_engine(tmp_path):
    (tmp_path / "compose.yaml").write_text("name: shop\nservices: {web: {image: nginx, ports: ['8080:80']}}\n")
    answer = reference.config(["compose.yaml"], tmp_path)
    assert answer.accepted, answer.err
    assert answer.project["services"]["web"]["ports"] == [
        {"mode": "ingress", "target": 80, "published": "8080", "protocol": "tcp"}
    ]


def test_the_reference_sees_only_the_variables_it_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("TAG", "from-the-caller")
    (tmp_path / "compose.yaml").write_text("name: shop\nservices: {web: {image: 'nginx:${TAG-none}'}}\n")
    assert reference.config(["compose.yaml"], tmp_path).project["services"]["web"]["image"] == "nginx:none"
    told = reference.config(["compose.yaml"], tmp_path, environment={"TAG": "told"})
    assert told.project["services"]["web"]["image"] == "nginx:told"
