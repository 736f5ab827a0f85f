"""The safe defaults every container gets, as a pure function: what the user wrote in, what the engine is told out.

`pilothouse explain` prints these; the agent applies them. A value the user wrote wins where policy lets it through.
"""

import msgspec

from pilothouse.model.container import ContainerSpec, Limits, Logging, Privileges

# What ordinary images need to change user, own their files and listen on port 80. Docker's own default adds
# AUDIT_WRITE, FSETID, MKNOD, NET_RAW, SETFCAP, SETPCAP and SYS_CHROOT.
DEFAULT_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID")
DEFAULT_PIDS = 512
DEFAULT_LOGGING = Logging(driver="json-file", options={"max-size": "10m", "max-file": "3"})
NO_NEW_PRIVILEGES = "no-new-privileges:true"


def normal_capability(name: str) -> str:
    """Return a capability's one spelling: upper case, without "CAP_"."""
    return name.upper().removeprefix("CAP_")


def capabilities(privileges: Privileges) -> tuple[str, ...]:
    """Return the capabilities a container keeps, sorted; everything else is dropped."""
    dropped = {normal_capability(name) for name in privileges.cap_drop}
    kept = set() if "ALL" in dropped else set(DEFAULT_CAPABILITIES) - dropped
    return tuple(sorted(kept | {normal_capability(name) for name in privileges.cap_add}))


def harden(spec: ContainerSpec) -> ContainerSpec:
    """Return *spec* with the safe defaults filled in; idempotent."""
    return msgspec.structs.replace(
        spec,
        privileges=_privileges(spec.privileges),
        limits=_limits(spec.limits),
        logging=_logging(spec.logging),
    )


def _privileges(privileges: Privileges) -> Privileges:
    if privileges.privileged:
        return privileges
    options = privileges.security_opt
    if not any(option.replace("=", ":").startswith("no-new-privileges") for option in options):
        options = (NO_NEW_PRIVILEGES, *options)
    kept = capabilities(privileges)
    return msgspec.structs.replace(privileges, cap_drop=("ALL",), cap_add=kept, security_opt=options)


def _limits(limits: Limits) -> Limits:
    return limits if limits.pids else msgspec.structs.replace(limits, pids=DEFAULT_PIDS)


def _logging(logging: Logging) -> Logging:
    if logging.driver not in {"", "json-file", "local"}:
        return logging
    driver = logging.driver or DEFAULT_LOGGING.driver
    return Logging(driver=driver, options={**DEFAULT_LOGGING.options, **logging.options})
