"""ImageService of CRI."""

from __future__ import annotations

from sampan.engine.cri.pb.image_calls_pb2 import (
    ImageFsInfoRequest,
    ImageFsInfoResponse,
    ImageStatusRequest,
    ImageStatusResponse,
    ListImagesRequest,
    ListImagesResponse,
    PullImageRequest,
    PullImageResponse,
    RemoveImageRequest,
    RemoveImageResponse,
)
from sampan.engine.cri.shell.images import PodImages

__all__ = ["ImageService"]


class ImageService:
    """One coroutine an RPC; see CRI's protocol for what each promises."""

    def __init__(self, images: PodImages) -> None:
        self._images = images

    async def list_images(self, request: ListImagesRequest) -> ListImagesResponse:
        """List images, all or one."""
        return ListImagesResponse(images=self._images.items(request.filter.image.image))

    async def image_status(self, request: ImageStatusRequest) -> ImageStatusResponse:
        """Describe an image; an empty answer when it is not there."""
        return self._images.status(request.image, verbose=request.verbose)

    async def pull_image(self, request: PullImageRequest) -> PullImageResponse:
        """Pull an image."""
        auth = request.auth if request.HasField("auth") else None
        return PullImageResponse(image_ref=await self._images.pull(request.image, auth))

    async def remove_image(self, request: RemoveImageRequest) -> RemoveImageResponse:
        """Remove an image with all its names."""
        await self._images.remove(request.image)
        return RemoveImageResponse()

    async def image_fs_info(self, request: ImageFsInfoRequest) -> ImageFsInfoResponse:
        """Tell what images and writable layers take."""
        del request
        return await self._images.usage()
