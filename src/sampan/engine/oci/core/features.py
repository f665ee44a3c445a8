"""What this runtime can do, as the features document of the OCI runtime specification."""

from __future__ import annotations

from typing import Any, Final

from sampan.engine.oci.core.record import OCI_VERSION
from sampan.engine.runtime.core import capability, mount_options
from sampan.engine.runtime.core.seccomp import vocabulary
from sampan.engine.runtime.core.spec import NAMESPACES

__all__ = ["HOOKS", "features"]

HOOKS: Final = (
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
)


def features(version: str) -> dict[str, Any]:
    """Return the document; `version` is the distribution's."""
    words = vocabulary()
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": list(HOOKS),
        "mountOptions": sorted(mount_options.WORDS),
        "linux": {
            "namespaces": sorted(NAMESPACES),
            "capabilities": list(capability.ALL),
            "cgroup": {
                "v1": True,
                "v2": True,
                "systemd": False,
                "systemdUser": False,
                "rdma": True,
            },
            "seccomp": {
                "enabled": True,
                "actions": words["actions"],
                "operators": words["operators"],
                "archs": words["archs"],
                "knownFlags": words["flags"],
                "supportedFlags": words["flags"],
            },
            "apparmor": {"enabled": False},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": True}},
        },
        "annotations": {
            "org.sampan.version": version,
            "org.opencontainers.runc.checkpoint.enabled": "false",
        },
    }
