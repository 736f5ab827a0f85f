"""Which images the engine keeps and which of them containers need; and letting one go, never by force."""

from pilothouse.agent.runtime.docker.answers import ImageAnswer, StoredAnswer, UsedImageAnswer
from pilothouse.agent.runtime.docker.failures import MissingError
from pilothouse.agent.runtime.docker.part import Part
from pilothouse.agent.runtime.interface import StoredImage
from pilothouse.errors import PermanentError, TemporaryError

_NONE = "<none>"


class Stock(Part):
    """List and remove images."""

    async def list_images(self) -> tuple[StoredImage, ...]:
        found = await self._client.call("GET", "/images/json", "list images", list[StoredAnswer])
        return tuple(stored_of(each) for each in found)

    async def images_in_use(self) -> frozenset[str]:
        what = "list what images containers are made from"
        found = await self._client.call(
            "GET", "/containers/json", what, list[UsedImageAnswer], params={"all": "1", "size": "0"}
        )
        return frozenset(_whole(each.image_id) for each in found if each.image_id)

    async def remove_image(self, image: StoredImage) -> bool:
        # With several names an engine refuses to remove it by its id alone, unless by force.
        for name in (*image.names, image.id):
            if not await self._remove(name):
                return False
        return await self._is_gone(image.id)

    async def _remove(self, name: str) -> bool:
        try:
            await self._client.call("DELETE", f"/images/{name}", f"remove the image {name}", list[object])
        except MissingError:  # the last tag takes the digests with it
            return True
        except (TemporaryError, PermanentError):  # in use, or another image is built on it
            return False
        return True

    async def _is_gone(self, image_id: str) -> bool:
        try:
            await self._client.call("GET", f"/images/{image_id}/json", f"find the image {image_id}", ImageAnswer)
        except MissingError:
            return True
        return False


def stored_of(answer: StoredAnswer) -> StoredImage:
    """Return an image in our words; what engines write for names that are missing is left out."""
    names = [name for name in (*(answer.repo_tags or ()), *(answer.repo_digests or ())) if _NONE not in name]
    return StoredImage(
        id=_whole(answer.id), names=tuple(names), size_bytes=max(0, answer.size), created_at=float(answer.created)
    )


def _whole(image_id: str) -> str:
    return image_id if image_id.startswith("sha256:") else f"sha256:{image_id}"
