"""The container commands by name; none is imported before it runs."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ALIASES", "COMMANDS", "COMMON", "GROUPS", "Entry", "find", "is_container_command"]


class Entry(NamedTuple):
    """A command: its module below this package, the name in it, and one line of help."""

    module: str
    attribute: str
    summary: str


_CONTAINER = {
    "attach": Entry("attach", "ATTACH", "Attach local streams to a running container"),
    "commit": Entry("snapshot", "COMMIT", "Create an image from a container's changes"),
    "cp": Entry("copy", "COPY", "Copy files between a container and the local file system"),
    "create": Entry("run", "CREATE", "Create a new container"),
    "diff": Entry("look", "DIFF", "Show changed files of a container"),
    "exec": Entry("attach", "EXEC", "Execute a command in a running container"),
    "export": Entry("snapshot", "EXPORT", "Export a container's file system as a tar archive"),
    "kill": Entry("lifecycle", "KILL", "Kill one or more running containers"),
    "logs": Entry("logs", "LOGS", "Fetch the logs of a container"),
    "pause": Entry("lifecycle", "PAUSE", "Pause all processes within containers"),
    "port": Entry("look", "PORT", "List port mappings of a container"),
    "rename": Entry("lifecycle", "RENAME", "Rename a container"),
    "restart": Entry("lifecycle", "RESTART", "Restart one or more containers"),
    "rm": Entry("lifecycle", "REMOVE", "Remove one or more containers"),
    "run": Entry("run", "RUN", "Create and run a new container from an image"),
    "start": Entry("start", "START", "Start one or more stopped containers"),
    "stats": Entry("stats", "STATS", "Show a live stream of containers' use of resources"),
    "stop": Entry("lifecycle", "STOP", "Stop one or more running containers"),
    "top": Entry("look", "TOP", "Show the running processes of a container"),
    "unpause": Entry("lifecycle", "UNPAUSE", "Unpause all processes within containers"),
    "update": Entry("lifecycle", "UPDATE", "Change limits and restart policy of containers"),
    "wait": Entry("lifecycle", "WAIT", "Wait until containers stop, then print their exit codes"),
}
_IMAGE = {
    "build": Entry("build", "BUILD", "Build an image from a Dockerfile"),
    "history": Entry("images", "HISTORY", "Show the history of an image"),
    "import": Entry("archives", "IMPORT", "Create an image from the contents of a tar archive"),
    "load": Entry("archives", "LOAD", "Load images from a tar archive or standard input"),
    "pull": Entry("registry", "PULL", "Download an image from a registry"),
    "push": Entry("registry", "PUSH", "Upload an image to a registry"),
    "save": Entry("archives", "SAVE", "Save images to a tar archive"),
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
    "inspect": Entry("inspect", "INSPECT", "Return low-level information on any object"),
    "search": Entry("registry", "SEARCH", "Search a registry for images"),
    "login": Entry("login", "LOGIN", "Log in to a registry"),
    "logout": Entry("login", "LOGOUT", "Log out from a registry"),
    "version": Entry("system", "VERSION", "Show versions of the client and the daemon"),
    "info": Entry("system", "INFO", "Show system-wide information"),
    "events": Entry("events", "EVENTS", "Follow what happens in the daemon"),
    **{f"container {name}": entry for name, entry in _CONTAINER.items()},
    "container ls": _PS,
    "container inspect": Entry("inspect", "CONTAINERS", "Show details of containers"),
    "container prune": Entry("prune", "CONTAINERS", "Remove all stopped containers"),
    **{f"image {name}": entry for name, entry in _IMAGE.items()},
    "image ls": _IMAGES,
    "image rm": _RMI,
    "image inspect": Entry("inspect", "IMAGES", "Show details of images"),
    "image prune": Entry("prune", "IMAGES", "Remove unused images"),
    "network connect": Entry("networks", "CONNECT", "Connect a container to a network"),
    "network create": Entry("networks", "CREATE", "Create a network"),
    "network disconnect": Entry("networks", "DISCONNECT", "Disconnect a container from a network"),
    "network inspect": Entry("inspect", "NETWORKS", "Show details of networks"),
    "network ls": Entry("networks", "LIST", "List networks"),
    "network prune": Entry("prune", "NETWORKS", "Remove all unused networks"),
    "network rm": Entry("networks", "REMOVE", "Remove one or more networks"),
    "volume create": Entry("volumes", "CREATE", "Create a volume"),
    "volume inspect": Entry("inspect", "VOLUMES", "Show details of volumes"),
    "volume ls": Entry("volumes", "LIST", "List volumes"),
    "volume prune": Entry("prune", "VOLUMES", "Remove unused local volumes"),
    "volume rm": Entry("volumes", "REMOVE", "Remove one or more volumes"),
    "system df": Entry("usage", "DF", "Show disk usage"),
    "system events": Entry("events", "EVENTS", "Follow what happens in the daemon"),
    "system info": Entry("system", "INFO", "Show system-wide information"),
    "system prune": Entry("prune", "SYSTEM", "Remove unused data"),
}
GROUPS = {
    "container": "Manage containers",
    "image": "Manage images",
    "network": "Manage networks",
    "volume": "Manage volumes",
    "system": "Manage the container engine",
}
COMMON = (
    "run", "exec", "ps", "build", "pull", "push", "images", "login", "logout", "search", "version",
    "info",
)  # fmt: skip
"""What help names first."""

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
