"""Images as a kubelet sees them."""

from __future__ import annotations

import asyncio
import json
import time

from sampan.base.errors import InvalidError, NotFoundError, UnavailableError
from sampan.engine.cri.core.container import Origin
from sampan.engine.cri.core.credentials import pull_credentials
from sampan.engine.cri.pb.image_calls_pb2 import ImageFsInfoResponse, ImageStatusResponse
from sampan.engine.cri.pb.image_pb2 import AuthConfig, Image
from sampan.engine.cri.pb.resources_pb2 import ImageSpec
from sampan.engine.cri.pb.stats_pb2 import FilesystemUsage
from sampan.engine.daemon.shell.engine import Engine
from sampan.images.core.challenge import Credentials
from sampan.images.core.reference import parse_reference
from sampan.images.shell.index import Entry
from sampan.images.shell.removal import remove_image

__all__ = ["PodImages"]


class PodImages:
    """The images of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, spec: ImageSpec) -> Entry:
        """Return an image by name, id or digest; NotFoundError without it."""
        if not spec.image:
            raise InvalidError("image spec must include an image")
        try:
            return self._engine.images.find(spec.image)
        except InvalidError as error:
            raise InvalidError(f"image {spec.image!r}: {error}") from None

    def origin(self, spec: ImageSpec) -> Origin:
        """Return what a container is made of."""
        entry = self.find(spec)
        image = entry.image
        name = next(iter(entry.tags), spec.user_specified_image or spec.image)
        return Origin(entry.id, name, reference_of(entry), image.diff_ids, image.config)

    def _message(self, entry: Entry) -> Image:
        user = str(entry.image.config.get("User") or "").partition(":")[0]
        message = Image(
            id=entry.id,
            repo_tags=entry.tags,
            repo_digests=entry.digests,
            size=self._engine.images.size(entry),
        )
        if user.isdigit():
            message.uid.value = int(user)
        elif user:
            message.username = user
        else:
            message.uid.value = 0
        return message

    def items(self, wanted: str) -> list[Image]:
        """Return all images, or the one that is wanted."""
        if not wanted:
            return [self._message(entry) for entry in self._engine.images.index.entries()]
        try:
            return [self._message(self.find(ImageSpec(image=wanted)))]
        except (NotFoundError, InvalidError):
            return []

    def status(self, spec: ImageSpec, *, verbose: bool) -> ImageStatusResponse:
        """Return an image, or an empty answer when it is not there."""
        try:
            entry = self.find(spec)
        except NotFoundError:
            return ImageStatusResponse()
        response = ImageStatusResponse(image=self._message(entry))
        if verbose:
            shown = {"chainID": entry.image.chain_id or "", "imageSpec": entry.image.document}
            response.info["info"] = json.dumps(shown)
        return response

    async def pull(self, spec: ImageSpec, auth: AuthConfig | None) -> str:
        """Pull an image; returns the reference to call it by.

        Raises the errors of `Distribution.pull`; those of a registry that cannot be reached begin
        with a kubelet's word for it.
        """
        if not spec.image:
            raise InvalidError("image spec must include an image")
        reference = parse_reference(spec.image)
        credentials = pull_credentials(auth) if auth is not None else Credentials()
        try:
            pulled = await self._engine.distribution.pull(
                reference, lambda progress: None, credentials=credentials
            )
        except UnavailableError as error:
            raise UnavailableError(f"RegistryUnavailable: {error}") from error
        return reference_of(pulled.entry)

    async def remove(self, spec: ImageSpec) -> None:
        """Remove an image with all its names; no harm when it is not there."""
        try:
            entry = self.find(spec)
        except NotFoundError:
            return
        engine = self._engine
        await remove_image(engine.images, entry.id, engine.image_users, force=True)

    async def usage(self) -> ImageFsInfoResponse:
        """Return what layers and writable layers take."""
        return await asyncio.to_thread(self._usage)

    def _usage(self) -> ImageFsInfoResponse:
        images, now = self._engine.images, time.time_ns()
        chains = {chain for entry in images.index.entries() for chain in entry.chains()}
        place = str(self._engine.options.data_root / "images")
        layers = FilesystemUsage(timestamp=now)
        layers.fs_id.mountpoint = place
        layers.used_bytes.value = sum(map(images.layer_size, chains))
        layers.inodes_used.value = len(chains)
        own = [images.snapshots.usage(key) for key in images.snapshots.keys()]
        writable = FilesystemUsage(timestamp=now)
        writable.fs_id.mountpoint = place
        writable.used_bytes.value = sum(one.size_bytes for one in own)
        writable.inodes_used.value = sum(one.inodes for one in own)
        return ImageFsInfoResponse(image_filesystems=[layers], container_filesystems=[writable])


def reference_of(entry: Entry) -> str:
    """Return what a kubelet is to call an image by: a digest of its registry's, or its id."""
    return entry.digests[0] if entry.digests else entry.id
