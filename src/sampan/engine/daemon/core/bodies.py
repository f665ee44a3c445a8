"""What the bodies of Docker's requests may hold, field by field (Engine API 1.50)."""

from __future__ import annotations

from typing import Final

from sampan.engine.daemon.core.schema import (
    BOOL,
    INT,
    INT64,
    STRING,
    STRINGS,
    TABLE,
    UINT16,
    UINT64,
    Array,
    Kind,
    ListOf,
    MapOf,
    Struct,
    Words,
    fields_of,
)

__all__ = [
    "AUTH",
    "CONFIG",
    "CREATE",
    "EXEC_CREATE",
    "EXEC_START",
    "HOST_CONFIG",
    "NETWORKING_CONFIG",
    "NETWORK_CONNECT",
    "NETWORK_CREATE",
    "NETWORK_DISCONNECT",
    "UPDATE",
    "VOLUME_CREATE",
]

_NOTHING: Final = Struct("struct {}", {})
_HEALTH: Final = Struct(
    "container.HealthConfig",
    {
        "Test": STRINGS,
        **fields_of(INT64, "Interval Timeout StartPeriod StartInterval"),
        "Retries": INT,
    },
)
_CONFIG_FIELDS: Final[dict[str, Kind]] = {
    **fields_of(STRING, "Hostname Domainname User Image WorkingDir StopSignal MacAddress"),
    **fields_of(BOOL, "AttachStdin AttachStdout AttachStderr Tty OpenStdin StdinOnce ArgsEscaped"),
    "NetworkDisabled": BOOL,
    "ExposedPorts": MapOf(_NOTHING, "nat.PortSet"),
    **fields_of(STRINGS, "Env OnBuild"),
    **fields_of(Words(), "Cmd Entrypoint Shell"),
    "Healthcheck": _HEALTH,
    "Volumes": MapOf(_NOTHING),
    "Labels": TABLE,
    "StopTimeout": INT,
}
CONFIG: Final = Struct("container.Config", _CONFIG_FIELDS)
_RESTART: Final = Struct("container.RestartPolicy", {"Name": STRING, "MaximumRetryCount": INT})
_THROTTLE: Final = Struct("blkiodev.ThrottleDevice", {"Path": STRING, "Rate": UINT64})
_DEVICE: Final = Struct(
    "container.DeviceMapping", fields_of(STRING, "PathOnHost PathInContainer CgroupPermissions")
)
_DEVICE_REQUEST: Final = Struct(
    "container.DeviceRequest",
    {
        "Driver": STRING,
        "Count": INT,
        "DeviceIDs": STRINGS,
        "Capabilities": ListOf(STRINGS),
        "Options": TABLE,
    },
)
_RESOURCES: Final[dict[str, Kind]] = {
    **fields_of(INT64, "CpuShares Memory NanoCpus CpuPeriod CpuQuota CpuRealtimePeriod"),
    **fields_of(INT64, "CpuRealtimeRuntime MemoryReservation MemorySwap MemorySwappiness"),
    **fields_of(INT64, "PidsLimit CpuCount CpuPercent KernelMemory KernelMemoryTCP"),
    **fields_of(UINT64, "IOMaximumIOps IOMaximumBandwidth"),
    **fields_of(STRING, "CgroupParent CpusetCpus CpusetMems"),
    "BlkioWeight": UINT16,
    "BlkioWeightDevice": ListOf(
        Struct("blkiodev.WeightDevice", {"Path": STRING, "Weight": UINT16}), pointers=True
    ),
    **fields_of(ListOf(_THROTTLE, pointers=True), "BlkioDeviceReadBps BlkioDeviceWriteBps"),
    **fields_of(ListOf(_THROTTLE, pointers=True), "BlkioDeviceReadIOps BlkioDeviceWriteIOps"),
    "Devices": ListOf(_DEVICE),
    "DeviceCgroupRules": STRINGS,
    "DeviceRequests": ListOf(_DEVICE_REQUEST),
    "OomKillDisable": BOOL,
    "Ulimits": ListOf(
        Struct("units.Ulimit", {"Name": STRING, "Soft": INT64, "Hard": INT64}), pointers=True
    ),
}
_DRIVER: Final = Struct("mount.Driver", {"Name": STRING, "Options": TABLE})
_MOUNT: Final = Struct(
    "mount.Mount",
    {
        **fields_of(STRING, "Type Source Target Consistency"),
        "ReadOnly": BOOL,
        "BindOptions": Struct(
            "mount.BindOptions",
            {
                "Propagation": STRING,
                **fields_of(BOOL, "NonRecursive CreateMountpoint ReadOnlyNonRecursive"),
                "ReadOnlyForceRecursive": BOOL,
            },
        ),
        "VolumeOptions": Struct(
            "mount.VolumeOptions",
            {"NoCopy": BOOL, "Labels": TABLE, "Subpath": STRING, "DriverConfig": _DRIVER},
        ),
        "ImageOptions": Struct("mount.ImageOptions", {"Subpath": STRING}),
        "TmpfsOptions": Struct(
            "mount.TmpfsOptions", {"SizeBytes": INT64, "Mode": INT, "Options": ListOf(STRINGS)}
        ),
        "ClusterOptions": _NOTHING,
    },
)
_BINDING: Final = Struct("nat.PortBinding", fields_of(STRING, "HostIp HostPort"))
HOST_CONFIG: Final = Struct(
    "container.HostConfig",
    {
        **_RESOURCES,
        **fields_of(STRING, "ContainerIDFile NetworkMode VolumeDriver CgroupnsMode IpcMode Cgroup"),
        **fields_of(STRING, "PidMode UTSMode UsernsMode Runtime Isolation"),
        **fields_of(Words(), "CapAdd CapDrop"),
        **fields_of(STRINGS, "Binds VolumesFrom Dns DnsOptions DnsSearch"),
        **fields_of(STRINGS, "ExtraHosts GroupAdd Links SecurityOpt MaskedPaths ReadonlyPaths"),
        **fields_of(BOOL, "AutoRemove Privileged PublishAllPorts ReadonlyRootfs Init"),
        **fields_of(TABLE, "Annotations StorageOpt Tmpfs Sysctls"),
        "LogConfig": Struct("container.LogConfig", {"Type": STRING, "Config": TABLE}),
        "PortBindings": MapOf(ListOf(_BINDING), "nat.PortMap"),
        "RestartPolicy": _RESTART,
        "ConsoleSize": Array(UINT64, 2),
        "OomScoreAdj": INT,
        "ShmSize": INT64,
        "Mounts": ListOf(_MOUNT),
    },
)
_ENDPOINT: Final = Struct(
    "network.EndpointSettings",
    {
        "IPAMConfig": Struct(
            "network.EndpointIPAMConfig",
            {**fields_of(STRING, "IPv4Address IPv6Address"), "LinkLocalIPs": STRINGS},
        ),
        **fields_of(STRINGS, "Links Aliases DNSNames"),
        **fields_of(STRING, "MacAddress NetworkID EndpointID Gateway IPAddress IPv6Gateway"),
        "GlobalIPv6Address": STRING,
        **fields_of(INT, "IPPrefixLen GlobalIPv6PrefixLen GwPriority"),
        "DriverOpts": TABLE,
    },
)
NETWORKING_CONFIG: Final = Struct("network.NetworkingConfig", {"EndpointsConfig": MapOf(_ENDPOINT)})
CREATE: Final = Struct(
    "container.CreateRequest",
    {**_CONFIG_FIELDS, "HostConfig": HOST_CONFIG, "NetworkingConfig": NETWORKING_CONFIG},
)
UPDATE: Final = Struct("container.UpdateConfig", {**_RESOURCES, "RestartPolicy": _RESTART})
EXEC_CREATE: Final = Struct(
    "container.ExecOptions",
    {
        **fields_of(STRING, "User DetachKeys WorkingDir"),
        **fields_of(BOOL, "Privileged Tty AttachStdin AttachStderr AttachStdout Detach"),
        "ConsoleSize": Array(UINT64, 2),
        **fields_of(STRINGS, "Env Cmd"),
    },
)
EXEC_START: Final = Struct(
    "container.ExecStartOptions",
    {**fields_of(BOOL, "Detach Tty"), "ConsoleSize": Array(UINT64, 2)},
)
VOLUME_CREATE: Final = Struct(
    "volume.CreateOptions",
    {
        **fields_of(STRING, "Name Driver"),
        **fields_of(TABLE, "DriverOpts Labels"),
        "ClusterVolumeSpec": _NOTHING,
    },
)

_IPAM_CONFIG: Final = Struct(
    "network.IPAMConfig",
    {**fields_of(STRING, "Subnet IPRange Gateway"), "AuxiliaryAddresses": TABLE},
)
NETWORK_CREATE: Final = Struct(
    "network.CreateRequest",
    {
        **fields_of(STRING, "Name Driver Scope"),
        **fields_of(BOOL, "CheckDuplicate EnableIPv4 EnableIPv6 Internal Attachable Ingress"),
        "ConfigOnly": BOOL,
        "ConfigFrom": Struct("network.ConfigReference", {"Network": STRING}),
        "IPAM": Struct(
            "network.IPAM", {"Driver": STRING, "Options": TABLE, "Config": ListOf(_IPAM_CONFIG)}
        ),
        **fields_of(TABLE, "Options Labels"),
    },
)
NETWORK_CONNECT: Final = Struct(
    "network.ConnectOptions", {"Container": STRING, "EndpointConfig": _ENDPOINT}
)
NETWORK_DISCONNECT: Final = Struct(
    "network.DisconnectOptions", {"Container": STRING, "Force": BOOL}
)
AUTH: Final = Struct(
    "registry.AuthConfig",
    fields_of(STRING, "username password auth email serveraddress identitytoken registrytoken"),
)
