"""The container commands by name; none is imported before it runs."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ALIASES", "COMMANDS", "GROUPS", "Entry", "find", "is_container_command"]


class Entry(NamedTuple):
    """A command: its module below this package, the name in it, and one line of help."""

    module: str
    attribute: str
    summary: str


_CONTAINER = {
    "attach": Entry("attach", "ATTACH", "Attach local streams to a running container"),
    "create": Entry("run", "CREATE", "Create a new container"),
    "exec": Entry("attach", "EXEC", "Execute a command in a running container"),
    "kill": Entry("lifecycle", "KILL", "Kill one or more running containers"),
    "logs": Entry("logs", "LOGS", "Fetch the logs of a container"),
    "pause": Entry("lifecycle", "PAUSE", "Pause all processes within containers"),
    "rename": Entry("lifecycle", "RENAME", "Rename a container"),
    "restart": Entry("lifecycle", "RESTART", "Restart one or more containers"),
    "rm": Entry("lifecycle", "REMOVE", "Remove one or more containers"),
    "run": Entry("run", "RUN", "Create and run a new container from an image"),
    "start": Entry("start", "START", "Start one or more stopped containers"),
    "stop": Entry("lifecycle", "STOP", "Stop one or more running containers"),
    "unpause": Entry("lifecycle", "UNPAUSE", "Unpause all processes within containers"),
    "update": Entry("lifecycle", "UPDATE", "Change limits and restart policy of containers"),
    "wait": Entry("lifecycle", "WAIT", "Wait until containers stop, then print their exit codes"),
}
_IMAGE = {
    "build": Entry("images", "BUILD", "Build an image (not supported yet)"),
    "history": Entry("images", "HISTORY", "Show the history of an image"),
    "pull": Entry("registry", "PULL", "Download an image from a registry"),
    "push": Entry("registry", "PUSH", "Upload an image to a registry"),
    "tag": Entry("images", "TAG", "Create a tag that refers to an image"),
}
_PS = Entry("lists", "PS", "List containers")
_IMAGES = Entry("images", "LIST", "List images")
_RMI = Entry("images", "REMOVE", "Remove one or more images")

COMMANDS: dict[str, Entry] = {
    **_CONTAINER,
    **_IMAGE,
    "ps": _PS,
    "images": _IMAGES,
    "rmi": _RMI,
    "search": Entry("registry", "SEARCH", "Search a registry for images"),
    **{f"container {name}": entry for name, entry in _CONTAINER.items()},
    "container ls": _PS,
    **{f"image {name}": entry for name, entry in _IMAGE.items()},
    "image ls": _IMAGES,
    "image rm": _RMI,
}
GROUPS = {
    "container": "Manage containers",
    "image": "Manage images",
    "network": "Manage networks",
    "volume": "Manage volumes",
    "system": "Manage the container engine",
}
ALIASES = {
    "container list": "container ls",
    "container ps": "container ls",
    "container remove": "container rm",
    "image list": "image ls",
    "image remove": "image rm",
    "network list": "network ls",
    "network remove": "network rm",
    "volume list": "volume ls",
    "volume remove": "volume rm",
}


def find(words: list[str]) -> tuple[str, list[str]]:
    """Return the command that the first words name, and the rest; the empty name for none."""
    for count in (2, 1):
        name = " ".join(words[:count])
        name = ALIASES.get(name, name)
        if name in COMMANDS and len(words) >= count:
            return name, words[count:]
    return "", words


_GLOBAL = ("-H", "-D", "-l", "--host", "--config", "--debug", "--log-level", "--tls")


def is_container_command(word: str) -> bool:
    """Tell whether the first word of a command line is one of these, or an option before them."""
    return word in COMMANDS or word in GROUPS or word.startswith(_GLOBAL)
