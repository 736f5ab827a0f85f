"""How this machine joins a cluster: whom to believe, a key of its own, and files written only once it was let in.

The token's hash says whom to believe. The first answer comes over a connection that proves nothing and is believed
only if it is the certificate with that hash; everything after that goes to whoever can show a certificate of it.
"""

import hashlib
import hmac
import os
import pathlib
import socket

from pilothouse.cli import lifecycle, membership, remote
from pilothouse.cli.membership import Membership
from pilothouse.cli.places import Places
from pilothouse.errors import ConflictError, InvalidRequestError, JoinRefusedError, ServerUnavailableError
from pilothouse.link.credentials import Credentials, der_of, new_request
from pilothouse.link.tls import blind_context, pinned_context
from pilothouse.model.addresses import join_address, split_address
from pilothouse.model.cluster import Role
from pilothouse.model.cluster_api import AuthorityAnswer, JoinAnswer, JoinRequest
from pilothouse.model.join_token import Token, read

STORE_FILE = "store.db"
_NOWHERE = ("192.0.2.1", 9)
"""An address for documentation: connecting a datagram socket to it sends nothing and tells our own address."""


def join(places: Places, address: str, token_text: str, advertise: str = "") -> JoinAnswer:
    """Join the cluster of the manager at *address*; nothing is written unless it let this machine in.

    Raises:
        ConflictError: This machine is in a cluster, or is a platform of its own.
        InvalidRequestError: The token or an address is none.
        JoinRefusedError: The manager refused, or is not the one the token is for.
        ServerUnavailableError: No manager answers there.
    """
    token = read(token_text)
    manager = join_address(*split_address(address))
    _check_free(places)
    authority = fetch_authority(manager, token)
    request, reached = new_request(), advertise or own_address(manager)
    answer = remote.ask(
        manager,
        pinned_context(authority),
        "POST",
        "/v1/join",
        JoinAnswer,
        JoinRequest(
            token_id=token.token_id,
            secret=token.secret,
            request=request.text,
            hostname=socket.gethostname(),
            address=reached,
        ),
    )
    _keep(pathlib.Path(places.data), answer, request.key, reached)
    return answer


def fetch_authority(manager: str, token: Token) -> str:
    """Return the certificate, as PEM, of the authority that *token* names.

    Raises:
        JoinRefusedError: The one at this address is another.
    """
    answer = remote.ask(manager, blind_context(), "GET", "/v1/cluster/authority", AuthorityAnswer)
    for each in answer.authorities:
        if hmac.compare_digest(hashlib.sha256(der_of(each)).hexdigest(), token.authority_hash):
            return each
    raise JoinRefusedError(
        f"the manager at {manager} has another authority than the token says: the address is another cluster's, the "
        "token is from before the authority was changed, or somebody sits in between; nothing was sent to it"
    )


def own_address(towards: str = "") -> str:
    """Return the address this machine has on the way to a manager, or to anywhere.

    Raises:
        InvalidRequestError: It has none.
    """
    host, port = split_address(towards) if towards else _NOWHERE
    try:
        family, kind, proto, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, proto) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise InvalidRequestError(
            f"this machine's address cannot be told ({error}): name one that the others reach, with --advertise"
        ) from error


def undo(places: Places) -> None:
    """Take back what joining wrote on this machine; the manager still has the node."""
    data = pathlib.Path(places.data)
    membership.forget(data)
    Credentials(data).remove()


def _check_free(places: Places) -> None:
    known = membership.load(places.data)
    if known is not None:
        raise ConflictError(
            f"this machine is in a cluster already, as {known.node_id}: `pilothouse leave` takes it out"
        )
    if (pid := lifecycle.running_pid(places)) is not None:
        raise ConflictError(f"process {pid} runs on this machine as server or agent: one machine, one platform")
    if os.path.exists(os.path.join(places.data, STORE_FILE)):
        raise ConflictError(
            f"this machine is a platform of its own (its state is in {places.data}): take its apps down, stop the "
            "server and move that directory away; then join"
        )


def _keep(data: pathlib.Path, answer: JoinAnswer, key: bytes, reached: str) -> None:
    """Write what was given: first the certificate, then that there is a cluster; without that, the rest is nothing."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        credentials = Credentials(data)
        credentials.keep(answer.authorities, answer.certificate, key)
        held = credentials.held()
        if not any(name.endswith(f"/agent/{answer.node_id}") for name in held.names):
            raise InvalidRequestError(f"the certificate that came is not for {answer.node_id}")
        host, port = split_address(reached)
        membership.save(
            data,
            Membership(
                role=answer.role,
                node_id=answer.node_id,
                cluster=answer.cluster,
                managers=answer.managers,
                advertise=join_address(host, port) if answer.role is Role.MANAGER else host,
            ),
        )
    except (OSError, InvalidRequestError) as error:
        membership.forget(data)
        Credentials(data).remove()
        raise ServerUnavailableError(
            f"the manager let this machine in as {answer.node_id}, but that cannot be kept here ({error}); nothing was "
            f"left behind. On a manager: pilothouse node remove {answer.node_id}; then join with another token"
        ) from error
