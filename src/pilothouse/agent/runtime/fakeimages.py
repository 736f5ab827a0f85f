"""The images of an engine in memory."""

from collections.abc import AsyncIterator

import msgspec

from pilothouse.agent.runtime.fakecalls import FakeCalls
from pilothouse.agent.runtime.fakehost import FakeImage
from pilothouse.agent.runtime.interface import StoredImage
from pilothouse.model.wire import ImageProgress

PULL_ATTEMPTS = 5


class FakeImages(FakeCalls):
    """Finds, pulls, lists and removes images; keeps `interface.Images` and `interface.Stocks`."""

    async def find_image(self, ref: str) -> tuple[str, str] | None:
        async with self._call("find_image", ref):
            image = self.host.image(ref)
            return (image.image_id, image.digest) if image and image.present else None

    async def ensure_image(self, ref: str, policy: str, platform: str = "") -> AsyncIterator[ImageProgress]:
        async with self._call("ensure_image", ref):
            image = self.host.image(ref)
        if image and image.present and policy != "always":
            yield ImageProgress(ref=ref, phase="present")
            yield _resolved(ref, image)
            return
        if policy in {"never", "build"} or image is None or image.pull_error:
            why = image.pull_error if image and image.pull_error else f"there is no image {ref}"
            yield ImageProgress(ref=ref, phase="failed", message=why)
            return
        for attempt in range(PULL_ATTEMPTS):
            yield ImageProgress(ref=ref, phase="pulling")
            await self.host.clock.sleep(image.pull_seconds)
            if attempt >= image.pull_failures:
                async with self._call("pull", ref):
                    self.host.images[image.ref] = msgspec.structs.replace(image, present=True, pull_failures=0)
                yield _resolved(ref, image)
                return
            yield ImageProgress(ref=ref, phase="waiting", message="the registry did not answer")
            await self.host.clock.sleep(2.0**attempt)
        yield ImageProgress(ref=ref, phase="failed", message="the registry did not answer")

    async def list_images(self) -> tuple[StoredImage, ...]:
        async with self._call("list_images"):
            return self.host.stock()

    async def images_in_use(self) -> frozenset[str]:
        async with self._call("images_in_use"):
            return self.host.images_in_use()

    async def remove_image(self, image: StoredImage) -> bool:
        async with self._call("remove_image", image.id):
            if image.id in self.host.images_in_use():
                return False
            for ref, known in list(self.host.images.items()):
                if known.image_id == image.id:
                    self.host.images[ref] = msgspec.structs.replace(known, present=False)
            return True


def _resolved(ref: str, image: FakeImage) -> ImageProgress:
    return ImageProgress(ref=ref, phase="resolved", id=image.image_id, digest=image.digest, platform=image.platform)
