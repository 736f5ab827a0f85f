"""Named volumes: made before the first container that mounts them, removed only when the manager says so."""

from pilothouse.agent.once import Once
from pilothouse.agent.runtime.interface import Volumes
from pilothouse.errors import PermanentError
from pilothouse.model.objects import Volume


class NamedVolumes:
    """The volumes of apps on this node."""

    def __init__(self, engine: Volumes, installation: str) -> None:
        self._engine = engine
        self._installation = installation
        self._once = Once()

    async def ensure(self, volume: Volume) -> None:
        """Make the volume exist; an external one is somebody else's to make.

        Raises:
            PermanentError: It is external and does not exist. The engine would silently make an empty one.
        """
        spec = volume.spec
        if spec.external:
            if not await self._engine.has_volume(spec.name):
                raise PermanentError(
                    f"volumes.{spec.key} is external, and there is no volume {spec.name} on this node: create it with "
                    f"`docker volume create {spec.name}`, or remove `external: true`"
                )
            return
        await self._once.ensure(
            spec.name,
            lambda: self._engine.ensure_volume(
                spec.name, volume.app, spec.driver, spec.driver_opts, self._installation
            ),
        )

    async def remove(self, volume: Volume) -> bool:
        """Remove the volume if nothing uses it; return False if that has to wait. What we did not make is forgotten."""
        if volume.spec.external:
            return True
        async with self._once.alone(volume.spec.name):
            self._once.forget(volume.spec.name)
            return await self._engine.remove_volume(volume.spec.name, self._installation)

    async def refresh(self) -> None:
        """Look at what exists instead of trusting what was known."""
        self._once.keep(await self._engine.list_volumes())

    def distrust(self, volume: Volume) -> None:
        """Look again before the volume is used next time."""
        self._once.forget(volume.spec.name)
