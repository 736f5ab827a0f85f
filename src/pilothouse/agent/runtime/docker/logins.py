"""Logins for registries, as `docker login` left them on the node. Reads one file; writes nothing, logs no word of it.

Logins kept by credential helpers are not used: a helper is a program, and the agent starts none it did not bring.
"""

import base64
import binascii
import pathlib
from collections.abc import Mapping

import msgspec

HUB = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")


class Login(msgspec.Struct, frozen=True):
    """One entry of `auths`."""

    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""

    def __repr__(self) -> str:
        """Leave everything out, so that no log line can hold it."""
        return "Login(...)"


class _File(msgspec.Struct, frozen=True):
    auths: dict[str, Login] = {}


def login_file(environment: Mapping[str, str], home: pathlib.Path) -> pathlib.Path:
    """Return where logins are kept."""
    return pathlib.Path(environment.get("DOCKER_CONFIG") or home / ".docker") / "config.json"


def registry_of(ref: str) -> str:
    """Return the registry's host an image reference names; "docker.io" if it names none."""
    host, slash, _ = ref.partition("/")
    return host if slash and ("." in host or ":" in host or host == "localhost") else "docker.io"


def header_for(ref: str, file: bytes) -> dict[str, str]:
    """Return the header that logs a pull of *ref* in, from the content of the login file; {} if there is no login."""
    try:
        logins = msgspec.json.decode(file, type=_File).auths
    except msgspec.DecodeError:
        return {}
    host = registry_of(ref)
    names = HUB if host == "docker.io" else (host, f"https://{host}", f"http://{host}")
    for name, login in logins.items():
        if name in names or name.rstrip("/") in names:
            return _header(login, host)
    return {}


def _header(login: Login, host: str) -> dict[str, str]:
    username, password = login.username, login.password
    if login.auth:
        try:
            username, _, password = base64.b64decode(login.auth).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return {}
    wanted = {"username": username, "password": password, "serveraddress": host}
    if login.identitytoken:
        wanted = {"identitytoken": login.identitytoken, "serveraddress": host}
    elif not username:
        return {}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(msgspec.json.encode(wanted)).decode()}
