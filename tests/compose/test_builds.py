"""An image that is missing and has a `build:` section says how it is built."""

import shlex

from pilothouse.compose.convert import convert


def built(**service):
    project = {"name": "shop", "services": {"web": service}, "networks": {"default": {"name": "shop_default"}}}
    return convert(project, project_directory="/srv/shop", read_file=lambda _: b"").builds


def test_a_plain_build_is_one_command_of_the_engine():
    plain = {"context": "/srv/shop/web", "dockerfile": "Dockerfile"}
    assert built(build=plain) == {"shop-web": "docker build -t shop-web /srv/shop/web"}
    assert built(build=plain, image="web:2") == {"web:2": "docker build -t web:2 /srv/shop/web"}


def test_what_a_build_sets_stands_in_the_command_and_is_quoted_for_a_shell():
    whole = {
        "context": "/srv/a shop",
        "dockerfile": "prod/Dockerfile",
        "target": "run",
        "args": {"A": "x y", "B": None},
    }
    assert shlex.split(built(build=whole)["shop-web"]) == [
        "docker", "build", "-t", "shop-web", "-f", "/srv/a shop/prod/Dockerfile", "--target", "run",
        "--build-arg", "A=x y", "--build-arg", "B", "/srv/a shop",
    ]  # fmt: skip


def test_a_build_that_only_compose_understands_is_left_to_compose():
    assert built(build={"context": ".", "ssh": ["default"]}) == {"shop-web": "docker compose build web"}


def test_without_a_build_there_is_nothing_to_say():
    assert built(image="web") == {}
