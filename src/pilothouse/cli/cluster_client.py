"""The API's part about the cluster as Python calls; beside `client.Client`, over the same transport."""

from typing import TypeVar
from urllib.parse import quote

from pilothouse.cli.client import decode
from pilothouse.cli.transport import Query, Transport
from pilothouse.model.api import Page, StoreMember
from pilothouse.model.cluster import JoinToken
from pilothouse.model.cluster_api import (
    AuthorityView,
    ClusterView,
    FormatView,
    InitRequest,
    NodePatch,
    TokenMade,
    TokenRequest,
)
from pilothouse.model.images import NodeImages, Reclaimed
from pilothouse.model.node import Node

T = TypeVar("T")


class ClusterClient:
    """One manager."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def init(self, advertise: str) -> ClusterView:
        """Make the platform a cluster; asked again, nothing more happens."""
        return self._do("POST", "/v1/cluster", ClusterView, InitRequest(advertise=advertise))

    def cluster(self) -> ClusterView:
        """Return the cluster."""
        return self._do("GET", "/v1/cluster", ClusterView)

    def rotate_authority(self) -> AuthorityView:
        """Have another authority take the place of the one that signs."""
        return self._do("POST", "/v1/cluster/rotate-ca", AuthorityView)

    def confirm_evictions(self) -> ClusterView:
        """Confirm that the nodes lost at once are lost."""
        return self._do("POST", "/v1/cluster/confirm-evictions", ClusterView)

    def format(self) -> FormatView:
        """Return the platform's format, and which version every process runs."""
        return self._do("GET", "/v1/format", FormatView)

    def raise_format(self) -> FormatView:
        """Have the next format without waiting."""
        return self._do("POST", "/v1/format/raise", FormatView)

    def make_token(self, request: TokenRequest) -> TokenMade:
        """Make a join token."""
        return self._do("POST", "/v1/tokens", TokenMade, request)

    def tokens(self) -> list[JoinToken]:
        """Return every join token, without its secret."""
        found: list[JoinToken] = []
        after: str | None = None
        while True:
            page = self._do("GET", "/v1/tokens", Page[JoinToken], query={"limit": 1000, "after": after})
            found.extend(page.items)
            after = page.next
            if after is None:
                return found

    def revoke_token(self, id: str) -> JoinToken:
        """Take a join token back."""
        return self._do("DELETE", f"/v1/tokens/{_part(id)}", JoinToken)

    def node(self, id: str) -> Node:
        """Return one node."""
        return self._do("GET", f"/v1/nodes/{_part(id)}", Node)

    def change_node(self, id: str, patch: NodePatch) -> Node:
        """Change what *patch* names."""
        return self._do("PATCH", f"/v1/nodes/{_part(id)}", Node, patch)

    def remove_node(self, id: str, *, force: bool = False) -> Node:
        """Remove a node from the cluster."""
        return self._do("DELETE", f"/v1/nodes/{_part(id)}", Node, query={"force": force})

    def rotate_node(self, id: str) -> Node:
        """Have a node make itself a new key."""
        return self._do("POST", f"/v1/nodes/{_part(id)}/rotate", Node)

    def node_images(self, id: str) -> NodeImages:
        """Return the images of one node, those that may be removed first."""
        return self._do("GET", f"/v1/nodes/{_part(id)}/images", NodeImages)

    def prune_node(self, id: str) -> Reclaimed:
        """Have the images of one node removed that nobody needs."""
        return self._do("POST", f"/v1/nodes/{_part(id)}/prune", Reclaimed)

    def approve_node(self, id: str) -> Node:
        """Let a node that joined with a manager's token be a manager."""
        return self._do("POST", f"/v1/nodes/{_part(id)}/approve", Node)

    def demote_node(self, id: str) -> Node:
        """Make a manager an agent."""
        return self._do("POST", f"/v1/nodes/{_part(id)}/demote", Node)

    def remove_member(self, id: str) -> Page[StoreMember]:
        """Take a member of the replicated store out that no manager needs."""
        return self._do("DELETE", f"/v1/store/members/{_part(id)}", Page[StoreMember])

    def _do(self, method: str, path: str, kind: type[T], body: object = None, query: Query | None = None) -> T:
        return decode(self._transport.call(method, path, body=body, query=query), kind)


def _part(text: str) -> str:
    return quote(text, safe="")
