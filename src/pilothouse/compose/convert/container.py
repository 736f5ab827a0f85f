"""One service of the loaded model → how to run one container of it."""

from pilothouse.compose import x_pilothouse
from pilothouse.compose.convert import files, limits, mounts, networking
from pilothouse.compose.reader import Reader
from pilothouse.model.container import ContainerSpec, Device, Healthcheck, Logging, Privileges

_WINDOWS = {
    "cpu_count": "cpus",
    "cpu_percent": "cpus",
    "credential_spec": "a secret",
    "isolation": "nothing",
}
DEFAULT_GRACE_SECONDS = 10.0


def container(service: Reader, app: str, name: str) -> ContainerSpec:
    """Return the container of service *name* of *app*."""
    _speak_of_what_is_left_out(service)
    mode, attached = networking.attachments(service)
    grace = service.seconds("stop_grace_period")
    return ContainerSpec(
        image=_image(service, app, name),
        command=service.command("command"),
        entrypoint=service.command("entrypoint"),
        environment=service.pairs("environment"),
        labels=service.pairs("labels"),
        annotations=service.pairs("annotations"),
        hostname=service.text("hostname"),
        domainname=service.text("domainname"),
        container_name=service.text("container_name"),
        user=service.text("user"),
        group_add=service.texts("group_add"),
        working_dir=service.text("working_dir"),
        tty=service.flag("tty"),
        stdin_open=service.flag("stdin_open"),
        init=service.maybe_flag("init"),
        read_only=service.flag("read_only"),
        stop_signal=service.text("stop_signal"),
        stop_grace_seconds=DEFAULT_GRACE_SECONDS if grace is None else grace,
        platform=service.text("platform"),
        runtime=service.text("runtime"),
        pull_policy=_pull_policy(service),
        shm_size_bytes=service.byte_count("shm_size") or 0,
        storage_opt=service.pairs("storage_opt"),
        healthcheck=_healthcheck(service.child("healthcheck")) if service.has("healthcheck") else None,
        logging=_logging(service.child("logging")),
        limits=limits.limits(service),
        privileges=_privileges(service),
        dns=networking.dns(service),
        ulimits=limits.ulimits(service),
        gpus=limits.device_requests(service),
        mounts=mounts.mounts(service),
        volumes_from=service.texts("volumes_from"),
        secrets=files.grants(service, "secrets"),
        configs=files.grants(service, "configs"),
        network_mode=mode,
        networks=attached,
        links=service.texts("links"),
        mac_address=service.text("mac_address"),
        ports=x_pilothouse.traffic(service, networking.ports(service)),
        expose=service.texts("expose"),
    )


def _speak_of_what_is_left_out(service: Reader) -> None:
    # Resolved by the loader, or of use at a person's console only.
    service.ignore("extends", "env_file", "label_file", "profiles", "attach", "develop", "build")
    for key, instead in _WINDOWS.items():
        if service.raw(key) not in (None, 0, "", {}):
            service.warn(key, f"is for Windows containers and is ignored; use {instead} instead")
    service.refuse(
        "external_links",
        "is not supported: containers of other apps have no fixed name; join an external network and use its aliases",
    )
    service.refuse("provider", "is not supported: no provider is allowed to run; deploy the program as a service")
    service.refuse("models", "is not supported yet; run a model server as a service and pass its address as a variable")


def _image(service: Reader, app: str, name: str) -> str:
    image = service.text("image")
    if image:
        return image
    if service.raw("build") is not None:
        return f"{app}-{name}"
    if not service.has("provider"):
        service.error("image", "is needed; write the image to run, or build: . for one that is built beforehand")
    return "none"


def _pull_policy(service: Reader) -> str:
    """Return the pull policy; an image that exists only where it was built is never pulled."""
    policy, after = service.text("pull_policy"), service.text("pull_refresh_after")
    built_here = service.raw("build") is not None and not service.text("image")
    if policy == "build" or (not policy and built_here):
        return "never"
    if policy == "if_not_present":
        return "missing"
    if after and policy in {"", "refresh"}:
        return f"every_{after}"
    return policy


def _healthcheck(check: Reader) -> Healthcheck:
    test = check.texts("test")
    found = Healthcheck(
        test=test,
        interval_seconds=check.seconds("interval"),
        timeout_seconds=check.seconds("timeout"),
        start_period_seconds=check.seconds("start_period"),
        start_interval_seconds=check.seconds("start_interval"),
        retries=check.integer("retries"),
    )
    if check.flag("disable") or test == ("NONE",):
        return Healthcheck(test=("NONE",))
    if isinstance(check.raw("test"), str):
        return Healthcheck(
            test=("CMD-SHELL", *test),
            interval_seconds=found.interval_seconds,
            timeout_seconds=found.timeout_seconds,
            start_period_seconds=found.start_period_seconds,
            start_interval_seconds=found.start_interval_seconds,
            retries=found.retries,
        )
    if test and test[0] not in {"CMD", "CMD-SHELL"}:
        check.error(
            "test", f'begins with {test[0]!r}; write ["CMD", program, ...], ["CMD-SHELL", line] or one line of text'
        )
    return found


def _logging(logging: Reader) -> Logging:
    return Logging(driver=logging.text("driver"), options=logging.pairs("options"))


def _privileges(service: Reader) -> Privileges:
    return Privileges(
        privileged=service.flag("privileged"),
        cap_add=service.texts("cap_add"),
        cap_drop=service.texts("cap_drop"),
        security_opt=service.texts("security_opt"),
        devices=tuple(
            Device(
                source=device.text("source"),
                target=device.text("target") or device.text("source"),
                permissions=device.text("permissions", "rwm"),
            )
            for device in service.children("devices")
        ),
        device_cgroup_rules=service.texts("device_cgroup_rules"),
        sysctls=service.pairs("sysctls"),
        cgroup=service.text("cgroup"),
        cgroup_parent=service.text("cgroup_parent"),
        ipc=service.text("ipc"),
        pid=_own_namespace(service, "pid"),
        uts=_own_namespace(service, "uts"),
        userns_mode=service.text("userns_mode"),
        use_api_socket=service.flag("use_api_socket"),
    )


def _own_namespace(service: Reader, key: str) -> str:
    """Return what *key* asks for; "private" is what a container has anyway, and engines do not know the word."""
    written = service.text(key)
    return "" if written == "private" else written
