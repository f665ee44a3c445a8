"""What an image is: references, digests, platforms, manifests, tar headers. Pure, no I/O."""
