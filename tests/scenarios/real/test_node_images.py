"""On one host, too, an image stays as long as anybody needs it, and goes when nobody does and a person asks."""

import json

import pytest

from tests.engine import until
from tests.platform import platform

pytestmark = [pytest.mark.engine, pytest.mark.slow]
OLD, NEW, OTHER = "pilothouse/old:1", "pilothouse/new:1", "pilothouse/other:1"
APP = """\
name: shop
services:
  web:
    image: {image}
    pull_policy: never
    stop_grace_period: 1s
"""


def test_an_image_to_go_back_to_stays_and_one_that_nobody_needs_is_pruned(docker_host, nothing_left_behind):
    docker_host.build({ref: {"Cmd": ["sleep", "1000"]} for ref in (OLD, NEW, OTHER)})
    with platform(docker_host) as made:
        made.stop()
        made.environment["PILOTHOUSE_IMAGES"] = "age=1s"
        made.start()
        manifest = made.directory / "compose.yaml"
        for image in (OLD, NEW):
            manifest.write_text(APP.format(image=image))
            made.up(manifest)
        node = made.api("GET", "/v1/nodes")[1]["items"][0]["id"]

        def kept():
            found = json.loads(made.command("node", "images", node, "--json").stdout)["images"]
            said = {name: image.get("kept", "") for image in found for name in image.get("names", ())}
            return {ref: said[ref] for ref in (OLD, NEW, OTHER) if ref in said}

        stays = {
            OLD: "a release needs it, or can be gone back to",
            NEW: "a container is made from it",
            OTHER: "no task of Pilothouse used it",
        }
        until(lambda: kept() == stays, "what ran before is gone")
        made.command("down", "shop")
        until(lambda: kept()[OLD] == kept()[NEW] == "", "nobody needs them any more")
        assert OLD in made.command("node", "images", node, "--plan").stdout
        assert OTHER not in made.command("node", "prune", node).stdout
        assert kept() == {OTHER: "no task of Pilothouse used it"}
        until(lambda: "a person asked for it" in made.command("node", "inspect", node).stdout, "it is shown")
        assert "node.prune" in made.command("audit", "ls").stdout
    assert docker_host.request("DELETE", f"/images/{OTHER}")[0] == 200
