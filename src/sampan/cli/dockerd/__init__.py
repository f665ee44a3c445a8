"""`sampan dockerd`: the container engine as a daemon, with dockerd's own flags."""

from sampan.cli.dockerd.serve import main

__all__ = ["main"]
