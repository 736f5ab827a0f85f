"""`pilothouse config`: the loaded project on standard output, findings on standard error, no server."""

from pilothouse.cli.commands.config import dependencies_first

COMPOSE = """\
name: shop
services:
  web:
    image: nginx:${TAG:-1}
    depends_on: [db]
    volumes: ["data:/data"]
    labels: {price: "5 $$"}
  db: {image: postgres}
volumes: {data: , more: }
"""


def test_the_project_is_printed_as_yaml_without_a_server(command, here):
    (here / "compose.yaml").write_text(COMPOSE)
    done = command("config")
    assert done.code == 0
    assert done.out.startswith("name: shop\nservices:\n  db:\n    image: postgres\n")
    assert "image: nginx:1\n" in done.out
    assert "price: 5 $$\n" in done.out


def test_the_project_is_printed_as_json(command, here):
    (here / "compose.yaml").write_text(COMPOSE)
    done = command("config", "--format", "json")
    assert done.out.startswith('{\n  "name": "shop",\n')
    assert '"price": "5 $$"' in done.out


def test_names_are_printed_one_on_each_line(command, here):
    (here / "compose.yaml").write_text(COMPOSE)
    assert command("config", "--services").out == "db\nweb\n"
    assert command("config", "--volumes").out == "data\n"


def test_quiet_prints_nothing_and_still_judges(command, here):
    (here / "compose.yaml").write_text(COMPOSE)
    assert command("config", "-q").out == ""
    (here / "compose.yaml").write_text("services: {web: {image: x, port: 1}}")
    done = command("config", "-q")
    assert done.code == 3
    assert "compose.yaml:1:28: services.web.port: unknown key; write `ports`" in done.err


def test_a_file_comes_from_standard_input(command, here):
    done = command("config", "-f", "-", "--project-name", "piped", stdin="services: {web: {image: x}}")
    assert done.code == 0
    assert done.out.startswith("name: piped\n")


def test_an_unset_variable_is_told_once_on_standard_error(command, here):
    (here / "compose.yaml").write_text("name: a\nservices: {web: {image: 'x${NONE}', command: ['$NONE']}}")
    assert command("config").err.count("NONE") == 1


def test_services_come_after_what_they_depend_on_even_in_a_diamond():
    services = {
        "a": {"depends_on": {"b": {}, "c": {}}},
        "b": {"depends_on": {"d": {}}},
        "c": {"depends_on": {"d": {}}},
        "d": {},
    }
    assert dependencies_first(services) == ["d", "b", "c", "a"]
