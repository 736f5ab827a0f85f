"""The cluster's authorities in the store: their keys sealed, one of them signing, all of them trusted."""

import hashlib

from pilothouse.governance.identity.authority.issue import Issued, issue
from pilothouse.governance.identity.authority.make import cross_sign, make_authority
from pilothouse.governance.identity.authority.rotation import chain, signer
from pilothouse.governance.secrets.seal import Vault
from pilothouse.link.credentials import bundle, der_of
from pilothouse.model.addresses import split_address
from pilothouse.model.cluster import Authority, AuthorityState, ManagerMember
from pilothouse.model.cluster_api import AuthorityView
from pilothouse.model.identity import Identity
from pilothouse.store.interface import ReadTx

_SEALED_FOR = "cluster"


def first(vault: Vault, cluster: str, now: float) -> Authority:
    """Return the first authority of a new cluster; it signs."""
    made = make_authority(cluster, 1, now)
    return Authority(
        id="1",
        certificate=made.certificate,
        sealed_key=_seal(vault, cluster, "1", made.key),
        state=AuthorityState.ACTIVE,
        created_at=now,
        not_after=made.not_after,
    )


def following(tx: ReadTx, vault: Vault, cluster: str, now: float) -> Authority:
    """Return the authority that is to follow the one that signs, certified by it; it signs nothing yet."""
    active = signer(every(tx))
    number = max(int(each.id) for each in every(tx)) + 1
    made = make_authority(cluster, number, now)
    old_key = _open(vault, cluster, active)
    return Authority(
        id=str(number),
        certificate=made.certificate,
        sealed_key=_seal(vault, cluster, str(number), made.key),
        state=AuthorityState.NEXT,
        created_at=now,
        not_after=made.not_after,
        cross=cross_sign(cluster, made.certificate, active.certificate, old_key, now),
    )


def every(tx: ReadTx) -> list[Authority]:
    """Return the authorities, oldest first; all of them are trusted."""
    return sorted(tx.find(Authority), key=lambda each: int(each.id))


def trusted(tx: ReadTx) -> str:
    """Return every authority that is trusted, as one PEM text."""
    return bundle(each.certificate for each in every(tx))


def certify(tx: ReadTx, vault: Vault, request: str, identity: Identity, now: float) -> Issued:
    """Return a certificate for the key in *request*, with what must follow it, by the authority that signs.

    Raises:
        InvalidRequestError: The request cannot be used.
        NotClusteredError: There is no authority.
    """
    active = signer(every(tx))
    key = _open(vault, identity.cluster, active)
    member = tx.get(ManagerMember, identity.node_id)
    host = "" if member is None else split_address(member.api)[0]
    made = issue(request, identity, active.id, active.certificate, key, now, host)
    return Issued(text=chain(made.text, active), certificate=made.certificate)


def view(authority: Authority) -> AuthorityView:
    """Return what may be seen of an authority."""
    return AuthorityView(
        id=authority.id,
        state=authority.state.value,
        hash=hash_of(authority.certificate),
        created_at=authority.created_at,
        not_after=authority.not_after,
    )


def hash_of(certificate: str) -> str:
    """Return the SHA-256 of a certificate (DER), in hexadecimal."""
    return hashlib.sha256(der_of(certificate)).hexdigest()


def _seal(vault: Vault, cluster: str, number: str, key: bytes) -> bytes:
    return vault.seal(_SEALED_FOR, f"authority/{number}", cluster, key)


def _open(vault: Vault, cluster: str, authority: Authority) -> bytes:
    return vault.open(_SEALED_FOR, f"authority/{authority.id}", cluster, authority.sealed_key)
