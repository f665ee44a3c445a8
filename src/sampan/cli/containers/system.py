"""`version` and `info`."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from typing import Any

from sampan import __version__
from sampan.base.errors import SampanError
from sampan.cli.containers.command import Command, Failure
from sampan.cli.containers.core.flags import Flag, Parsed
from sampan.cli.containers.core.kinds import STRING
from sampan.cli.containers.core.units import binary_size
from sampan.cli.containers.session import Session
from sampan.engine.client.client import NEWEST

__all__ = ["INFO", "VERSION"]

_FORMAT = Flag("format", STRING, "Format output: 'json' or a Go template", "f")


def _filled(form: str, data: Mapping[str, Any]) -> str:
    from sampan.cli.containers.core.evaluate import Template

    return Template("{{json .}}" if form == "json" else form).fill(data)


def _version(session: Session, parsed: Parsed) -> int:
    client = {
        "Version": __version__,
        "ApiVersion": "{}.{}".format(*NEWEST),
        "DefaultAPIVersion": "{}.{}".format(*NEWEST),
        "PythonVersion": platform.python_version(),
        "Os": sys.platform,
        "Arch": platform.machine(),
        "Context": "default",
    }
    server, trouble = None, ""
    try:
        client["ApiVersion"] = session.client.version
        server = session.system.version()
    except SampanError as error:
        trouble = str(error)
    form = parsed.text("format")
    if form:
        if trouble:
            raise Failure(trouble)
        print(_filled(form, {"Client": client, "Server": server}))
        return 0
    print(
        f"Client:\n Version:           {client['Version']}\n"
        f" API version:       {client['ApiVersion']}\n"
        f" Python version:    {client['PythonVersion']}\n"
        f" OS/Arch:           {client['Os']}/{client['Arch']}"
    )
    if server is None:
        raise Failure(trouble)
    name = (server.get("Platform") or {}).get("Name") or ""
    print(f"\nServer: {name}".rstrip())
    for component in server.get("Components") or ():
        details = component.get("Details") or {}
        print(f" {component['Name']}:\n  Version:          {component.get('Version', '')}")
        for field, title in _COMPONENT_FIELDS:
            if field == "ApiVersion" and field in details:
                least = details.get("MinAPIVersion", "")
                print(f"  {title:<17} {details[field]} (minimum version {least})")
            elif details.get(field):
                print(f"  {title:<17} {details[field]}")
    return 0


_COMPONENT_FIELDS = (
    ("ApiVersion", "API version:"),
    ("GoVersion", "Go version:"),
    ("GitCommit", "Git commit:"),
    ("BuildTime", "Built:"),
    ("Os", "OS:"),
    ("Arch", "Arch:"),
)


def _info(session: Session, parsed: Parsed) -> int:
    info = session.system.info()
    form = parsed.text("format")
    if form:
        client = {"Debug": False, "Version": __version__, "Context": "default", "Plugins": []}
        print(_filled(form, {**info, "ClientInfo": client}))
        return 0
    print(f"Client:\n Version:    {__version__}\n\nServer:")
    for line in _info_lines(info):
        print(line)
    for warning in info.get("Warnings") or ():
        print(warning, file=sys.stderr)
    return 0


def _info_lines(info: Mapping[str, Any]) -> list[str]:
    plugins = info.get("Plugins") or {}
    lines = [
        f" Containers: {info['Containers']}",
        f"  Running: {info['ContainersRunning']}",
        f"  Paused: {info['ContainersPaused']}",
        f"  Stopped: {info['ContainersStopped']}",
        f" Images: {info['Images']}",
        f" Server Version: {info['ServerVersion']}",
        f" Storage Driver: {info['Driver']}",
        *(f"  {name}: {value}" for name, value in info.get("DriverStatus") or ()),
        f" Logging Driver: {info.get('LoggingDriver', '')}",
        f" Cgroup Driver: {info.get('CgroupDriver', '')}",
        f" Cgroup Version: {info.get('CgroupVersion', '')}",
        " Plugins:",
        *(
            f"  {kind}: {' '.join(plugins[kind])}"
            for kind in ("Volume", "Network", "Log")
            if plugins.get(kind)
        ),
        f" Runtimes: {' '.join(sorted(info.get('Runtimes') or ()))}",
        f" Default Runtime: {info.get('DefaultRuntime', '')}",
    ]
    options = info.get("SecurityOptions") or ()
    if options:
        lines.append(" Security Options:")
    for option in options:
        name, *rest = (part.partition("=")[2] for part in option.split(","))
        lines.append(f"  {name}")
        lines += [f"   Profile: {value}" for value in rest]
    memory = binary_size(info.get("MemTotal") or 0)
    for title, field in _PLAIN_FIELDS:
        if field == "MemTotal":
            lines.append(f" {title}: {memory}")
        elif info.get(field) not in (None, ""):
            value = info[field]
            lines.append(f" {title}: {str(value).lower() if isinstance(value, bool) else value}")
    return lines


_PLAIN_FIELDS = (
    ("Kernel Version", "KernelVersion"),
    ("Operating System", "OperatingSystem"),
    ("OSType", "OSType"),
    ("Architecture", "Architecture"),
    ("CPUs", "NCPU"),
    ("Total Memory", "MemTotal"),
    ("Name", "Name"),
    ("ID", "ID"),
    ("Docker Root Dir", "DockerRootDir"),
    ("Debug Mode", "Debug"),
    ("Live Restore Enabled", "LiveRestoreEnabled"),
)
VERSION = Command("[OPTIONS]", _version, (_FORMAT,), most=0)
INFO = Command("[OPTIONS]", _info, (_FORMAT,), most=0)
