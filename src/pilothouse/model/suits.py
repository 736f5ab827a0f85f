"""Which nodes could ever run a service: what its constraints and its platform say, whatever room there is now. Pure."""

from pilothouse.errors import InvalidManifestError
from pilothouse.model.constraints import normal_architecture, parse_constraint, satisfies
from pilothouse.model.node import Node
from pilothouse.model.objects import ResolvedImage
from pilothouse.model.spec import ServiceSpec


def could_run(service: ServiceSpec, node: Node) -> bool:
    """Tell whether the constraints and the platform of *service* let it run on *node*."""
    try:
        constraints = [parse_constraint(text) for text in service.task.placement.constraints]
    except InvalidManifestError:
        return False
    return all(satisfies(each, node) for each in constraints) and runs(node, service.task.container.platform)


def runs(node: Node, platform: str) -> bool:
    """Tell whether *node* runs "OS[/ARCHITECTURE[/VARIANT]]", as far as both say what they are."""
    system, _, rest = platform.lower().partition("/")
    architecture, about = normal_architecture(rest.partition("/")[0]), node.description
    if system and about.os and system != about.os.lower():
        return False
    return not (architecture and about.arch) or architecture == normal_architecture(about.arch)


def has_image(image: ResolvedImage, node: Node) -> str:
    """Return why *node* cannot run *image*, "" if it can: it is for another platform, or the node cannot get it."""
    about = node.description
    if not runs(node, image.platform):
        return f"is {about.os}/{normal_architecture(about.arch)}, and the image {image.ref} is for {image.platform}"
    if image.nodes and node.id not in image.nodes:
        return f"has no image {image.ref}, which came from no registry"
    return ""
