"""A cluster's authority and the credentials of its machines, for tests of everything that needs them."""

from pilothouse.governance.identity.authority.issue import issue
from pilothouse.governance.identity.authority.make import make_authority
from pilothouse.link.credentials import Credentials, new_request
from pilothouse.model.cluster import Role
from pilothouse.model.identity import Identity

CLUSTER = "c" * 32


class Pki:
    """One authority.

    Attributes:
        made: Its certificate and key.
    """

    def __init__(self, now, cluster=CLUSTER, number=1):
        self.cluster, self.number = cluster, number
        self.made = make_authority(cluster, number, now)

    def issue(self, node, now, role=Role.AGENT, request=None):
        """Return a certificate for *node*."""
        identity = Identity(cluster=self.cluster, node_id=node, role=role)
        request = new_request().text if request is None else request
        return issue(request, identity, str(self.number), self.made.certificate, self.made.key, now)

    def credentials(self, data, node, now, role=Role.AGENT, authorities=None):
        """Keep a new key and certificate for *node* in *data* and return them."""
        data.mkdir(parents=True, exist_ok=True)
        request = new_request()
        issued = self.issue(node, now, role, request.text)
        made = Credentials(data)
        made.keep(authorities or self.made.certificate, issued.text, request.key)
        return made
