"""The errors a client of the store may see: exact gRPC codes and exact strings.

Clients compare the message word for word, so the strings are part of the protocol. Use as
`raise errors.EMPTY_KEY()`: each call makes a fresh exception, because an exception object that is
raised twice keeps the traceback of the first time.

Source: the v3 API's published error list (api/v3rpc/rpctypes/error.go of release 3.6).
"""

from __future__ import annotations

from dataclasses import dataclass

from sampan.wire.grpc.status import Code, RpcError

__all__ = [
    "ALL",
    "AUTH_FAILED",
    "AUTH_NOT_ENABLED",
    "AUTH_OLD_REVISION",
    "BAD_LEADER_TRANSFEREE",
    "BY_MESSAGE",
    "CANCELED",
    "CLUSTER_ID_MISMATCH",
    "CLUSTER_VERSION_UNAVAILABLE",
    "COMPACTED",
    "CORRUPT",
    "DEADLINE_EXCEEDED",
    "DOWNGRADE_IN_PROCESS",
    "DOWNGRADE_NOT_SUPPORTED",
    "DUPLICATE_KEY",
    "EMPTY_KEY",
    "FUTURE_REV",
    "INVALID_AUTH_MANAGEMENT",
    "INVALID_AUTH_TOKEN",
    "INVALID_CLIENT_API_VERSION",
    "INVALID_DOWNGRADE_TARGET_VERSION",
    "INVALID_SORT_OPTION",
    "KEY_NOT_FOUND",
    "LEADER_CHANGED",
    "LEARNER_NOT_READY",
    "LEASE_EXIST",
    "LEASE_NOT_FOUND",
    "LEASE_PROVIDED",
    "LEASE_TTL_TOO_LARGE",
    "MEMBER_BAD_URLS",
    "MEMBER_EXIST",
    "MEMBER_NOT_ENOUGH_STARTED",
    "MEMBER_NOT_FOUND",
    "MEMBER_NOT_LEARNER",
    "NAME_TOO_LONG",
    "NOT_CAPABLE",
    "NOT_LEADER",
    "NOT_SUPPORTED_FOR_LEARNER",
    "NO_INFLIGHT_DOWNGRADE",
    "NO_LEADER",
    "NO_PASSWORD_USER",
    "NO_SPACE",
    "OWN",
    "PEER_URL_EXIST",
    "PERMISSION_DENIED",
    "PERMISSION_NOT_GIVEN",
    "PERMISSION_NOT_GRANTED",
    "REQUEST_TOO_LARGE",
    "ROLE_ALREADY_EXIST",
    "ROLE_EMPTY",
    "ROLE_NOT_FOUND",
    "ROLE_NOT_GRANTED",
    "ROOT_ROLE_NOT_EXIST",
    "ROOT_USER_NOT_EXIST",
    "STOPPED",
    "TIMEOUT",
    "TIMEOUT_DUE_TO_CONNECTION_LOST",
    "TIMEOUT_DUE_TO_LEADER_FAIL",
    "TIMEOUT_LEADER_TRANSFER",
    "TIMEOUT_WAIT_APPLIED_INDEX",
    "TOO_MANY_LEARNERS",
    "TOO_MANY_OPS",
    "TOO_MANY_REQUESTS",
    "UNHEALTHY",
    "USER_ALREADY_EXIST",
    "USER_EMPTY",
    "USER_NOT_FOUND",
    "VALUE_PROVIDED",
    "WATCH_CANCELED",
    "WRONG_DOWNGRADE_VERSION_FORMAT",
    "StoreError",
]


@dataclass(frozen=True, slots=True)
class StoreError:
    """One kind of failure; `name` is the constant's own name, `message` what the client reads."""

    name: str
    code: Code
    message: str

    def __call__(self, hint: str = "") -> RpcError:
        """Return a new exception to raise or to answer with.

        The message never varies; a `hint` for people goes beside it as trailer `sampan-hint`.
        """
        return RpcError(self.code, self.message, (("sampan-hint", hint),) if hint else ())

    def matches(self, error: RpcError) -> bool:
        """Say whether `error` is of this kind."""
        return error.code == self.code and error.message == self.message


def _etcdserver(name: str, code: Code, text: str) -> StoreError:
    return StoreError(name, code, f"etcdserver: {text}")


_INVALID = Code.INVALID_ARGUMENT
_STATE = Code.FAILED_PRECONDITION
_AWAY = Code.UNAVAILABLE

# Keys, transactions and revisions.
EMPTY_KEY = _etcdserver("EMPTY_KEY", _INVALID, "key is not provided")
KEY_NOT_FOUND = _etcdserver("KEY_NOT_FOUND", _INVALID, "key not found")
VALUE_PROVIDED = _etcdserver("VALUE_PROVIDED", _INVALID, "value is provided")
LEASE_PROVIDED = _etcdserver("LEASE_PROVIDED", _INVALID, "lease is provided")
TOO_MANY_OPS = _etcdserver("TOO_MANY_OPS", _INVALID, "too many operations in txn request")
DUPLICATE_KEY = _etcdserver("DUPLICATE_KEY", _INVALID, "duplicate key given in txn request")
INVALID_CLIENT_API_VERSION = _etcdserver(
    "INVALID_CLIENT_API_VERSION", _INVALID, "invalid client api version"
)
INVALID_SORT_OPTION = _etcdserver("INVALID_SORT_OPTION", _INVALID, "invalid sort option")
COMPACTED = _etcdserver(
    "COMPACTED", Code.OUT_OF_RANGE, "mvcc: required revision has been compacted"
)
FUTURE_REV = _etcdserver(
    "FUTURE_REV", Code.OUT_OF_RANGE, "mvcc: required revision is a future revision"
)
NO_SPACE = _etcdserver("NO_SPACE", Code.RESOURCE_EXHAUSTED, "mvcc: database space exceeded")

# Leases and watches.
LEASE_NOT_FOUND = _etcdserver("LEASE_NOT_FOUND", Code.NOT_FOUND, "requested lease not found")
LEASE_EXIST = _etcdserver("LEASE_EXIST", _STATE, "lease already exists")
LEASE_TTL_TOO_LARGE = _etcdserver("LEASE_TTL_TOO_LARGE", Code.OUT_OF_RANGE, "too large lease TTL")
WATCH_CANCELED = _etcdserver("WATCH_CANCELED", Code.CANCELLED, "watch canceled")

# Membership.
MEMBER_EXIST = _etcdserver("MEMBER_EXIST", _STATE, "member ID already exist")
PEER_URL_EXIST = _etcdserver("PEER_URL_EXIST", _STATE, "Peer URLs already exists")
MEMBER_NOT_ENOUGH_STARTED = _etcdserver(
    "MEMBER_NOT_ENOUGH_STARTED",
    _STATE,
    "re-configuration failed due to not enough started members",
)
MEMBER_BAD_URLS = _etcdserver("MEMBER_BAD_URLS", _INVALID, "given member URLs are invalid")
MEMBER_NOT_FOUND = _etcdserver("MEMBER_NOT_FOUND", Code.NOT_FOUND, "member not found")
MEMBER_NOT_LEARNER = _etcdserver("MEMBER_NOT_LEARNER", _STATE, "can only promote a learner member")
LEARNER_NOT_READY = _etcdserver(
    "LEARNER_NOT_READY",
    _STATE,
    "can only promote a learner member which is in sync with leader",
)
TOO_MANY_LEARNERS = _etcdserver("TOO_MANY_LEARNERS", _STATE, "too many learner members in cluster")
CLUSTER_ID_MISMATCH = _etcdserver("CLUSTER_ID_MISMATCH", _STATE, "cluster ID mismatch")

# Load.
REQUEST_TOO_LARGE = _etcdserver("REQUEST_TOO_LARGE", _INVALID, "request is too large")
TOO_MANY_REQUESTS = _etcdserver("TOO_MANY_REQUESTS", Code.RESOURCE_EXHAUSTED, "too many requests")

# Users, roles and permissions.
ROOT_USER_NOT_EXIST = _etcdserver("ROOT_USER_NOT_EXIST", _STATE, "root user does not exist")
ROOT_ROLE_NOT_EXIST = _etcdserver(
    "ROOT_ROLE_NOT_EXIST", _STATE, "root user does not have root role"
)
USER_ALREADY_EXIST = _etcdserver("USER_ALREADY_EXIST", _STATE, "user name already exists")
USER_EMPTY = _etcdserver("USER_EMPTY", _INVALID, "user name is empty")
USER_NOT_FOUND = _etcdserver("USER_NOT_FOUND", _STATE, "user name not found")
ROLE_ALREADY_EXIST = _etcdserver("ROLE_ALREADY_EXIST", _STATE, "role name already exists")
ROLE_NOT_FOUND = _etcdserver("ROLE_NOT_FOUND", _STATE, "role name not found")
ROLE_EMPTY = _etcdserver("ROLE_EMPTY", _INVALID, "role name is empty")
AUTH_FAILED = _etcdserver(
    "AUTH_FAILED", _INVALID, "authentication failed, invalid user ID or password"
)
PERMISSION_NOT_GIVEN = _etcdserver("PERMISSION_NOT_GIVEN", _INVALID, "permission not given")
PERMISSION_DENIED = _etcdserver("PERMISSION_DENIED", Code.PERMISSION_DENIED, "permission denied")
ROLE_NOT_GRANTED = _etcdserver("ROLE_NOT_GRANTED", _STATE, "role is not granted to the user")
PERMISSION_NOT_GRANTED = _etcdserver(
    "PERMISSION_NOT_GRANTED", _STATE, "permission is not granted to the role"
)
AUTH_NOT_ENABLED = _etcdserver("AUTH_NOT_ENABLED", _STATE, "authentication is not enabled")
INVALID_AUTH_TOKEN = _etcdserver("INVALID_AUTH_TOKEN", Code.UNAUTHENTICATED, "invalid auth token")
INVALID_AUTH_MANAGEMENT = _etcdserver(
    "INVALID_AUTH_MANAGEMENT", _INVALID, "invalid auth management"
)
AUTH_OLD_REVISION = _etcdserver("AUTH_OLD_REVISION", _INVALID, "revision of auth store is old")

# The server and its cluster.
NO_LEADER = _etcdserver("NO_LEADER", _AWAY, "no leader")
NOT_LEADER = _etcdserver("NOT_LEADER", _STATE, "not leader")
LEADER_CHANGED = _etcdserver("LEADER_CHANGED", _AWAY, "leader changed")
NOT_CAPABLE = _etcdserver("NOT_CAPABLE", _STATE, "not capable")
STOPPED = _etcdserver("STOPPED", _AWAY, "server stopped")
TIMEOUT = _etcdserver("TIMEOUT", _AWAY, "request timed out")
TIMEOUT_DUE_TO_LEADER_FAIL = _etcdserver(
    "TIMEOUT_DUE_TO_LEADER_FAIL",
    _AWAY,
    "request timed out, possibly due to previous leader failure",
)
TIMEOUT_DUE_TO_CONNECTION_LOST = _etcdserver(
    "TIMEOUT_DUE_TO_CONNECTION_LOST",
    _AWAY,
    "request timed out, possibly due to connection lost",
)
TIMEOUT_WAIT_APPLIED_INDEX = _etcdserver(
    "TIMEOUT_WAIT_APPLIED_INDEX",
    _AWAY,
    "request timed out, waiting for the applied index took too long",
)
TIMEOUT_LEADER_TRANSFER = _etcdserver(
    "TIMEOUT_LEADER_TRANSFER",
    Code.UNKNOWN,
    "request timed out, leader transfer took too long",
)
UNHEALTHY = _etcdserver("UNHEALTHY", _AWAY, "unhealthy cluster")
CORRUPT = _etcdserver("CORRUPT", Code.DATA_LOSS, "corrupt cluster")
NOT_SUPPORTED_FOR_LEARNER = _etcdserver(
    "NOT_SUPPORTED_FOR_LEARNER", _STATE, "rpc not supported for learner"
)
BAD_LEADER_TRANSFEREE = _etcdserver("BAD_LEADER_TRANSFEREE", _STATE, "bad leader transferee")

# Downgrades.
WRONG_DOWNGRADE_VERSION_FORMAT = _etcdserver(
    "WRONG_DOWNGRADE_VERSION_FORMAT", _INVALID, "wrong downgrade target version format"
)
INVALID_DOWNGRADE_TARGET_VERSION = _etcdserver(
    "INVALID_DOWNGRADE_TARGET_VERSION", _INVALID, "invalid downgrade target version"
)
CLUSTER_VERSION_UNAVAILABLE = _etcdserver(
    "CLUSTER_VERSION_UNAVAILABLE", _STATE, "cluster version not found during downgrade"
)
DOWNGRADE_IN_PROCESS = _etcdserver(
    "DOWNGRADE_IN_PROCESS", _STATE, "cluster has a downgrade job in progress"
)
NO_INFLIGHT_DOWNGRADE = _etcdserver("NO_INFLIGHT_DOWNGRADE", _STATE, "no inflight downgrade job")

# The caller went away.
CANCELED = _etcdserver("CANCELED", Code.CANCELLED, "request canceled")
DEADLINE_EXCEEDED = _etcdserver(
    "DEADLINE_EXCEEDED", Code.DEADLINE_EXCEEDED, "context deadline exceeded"
)

# Not in the published list. The first, and that of a leader transfer above, are what the original
# sends for an error its table lacks; the others are our own: a limit the original does not have,
# and what this server does not do yet.
NO_PASSWORD_USER = StoreError(
    "NO_PASSWORD_USER",
    Code.UNKNOWN,
    "auth: authentication failed, password was given for no password user",
)

NAME_TOO_LONG = _etcdserver("NAME_TOO_LONG", _INVALID, "name is longer than 400 bytes")
DOWNGRADE_NOT_SUPPORTED = _etcdserver(
    "DOWNGRADE_NOT_SUPPORTED", Code.UNIMPLEMENTED, "downgrades are not supported yet"
)

OWN: tuple[StoreError, ...] = (
    NO_PASSWORD_USER,
    NAME_TOO_LONG,
    DOWNGRADE_NOT_SUPPORTED,
    TIMEOUT_LEADER_TRANSFER,
)
"""Errors beyond the published list."""

ALL: tuple[StoreError, ...] = (
    EMPTY_KEY,
    KEY_NOT_FOUND,
    VALUE_PROVIDED,
    LEASE_PROVIDED,
    TOO_MANY_OPS,
    DUPLICATE_KEY,
    INVALID_CLIENT_API_VERSION,
    INVALID_SORT_OPTION,
    COMPACTED,
    FUTURE_REV,
    NO_SPACE,
    LEASE_NOT_FOUND,
    LEASE_EXIST,
    LEASE_TTL_TOO_LARGE,
    WATCH_CANCELED,
    MEMBER_EXIST,
    PEER_URL_EXIST,
    MEMBER_NOT_ENOUGH_STARTED,
    MEMBER_BAD_URLS,
    MEMBER_NOT_FOUND,
    MEMBER_NOT_LEARNER,
    LEARNER_NOT_READY,
    TOO_MANY_LEARNERS,
    CLUSTER_ID_MISMATCH,
    REQUEST_TOO_LARGE,
    TOO_MANY_REQUESTS,
    ROOT_USER_NOT_EXIST,
    ROOT_ROLE_NOT_EXIST,
    USER_ALREADY_EXIST,
    USER_EMPTY,
    USER_NOT_FOUND,
    ROLE_ALREADY_EXIST,
    ROLE_NOT_FOUND,
    ROLE_EMPTY,
    AUTH_FAILED,
    PERMISSION_NOT_GIVEN,
    PERMISSION_DENIED,
    ROLE_NOT_GRANTED,
    PERMISSION_NOT_GRANTED,
    AUTH_NOT_ENABLED,
    INVALID_AUTH_TOKEN,
    INVALID_AUTH_MANAGEMENT,
    AUTH_OLD_REVISION,
    NO_LEADER,
    NOT_LEADER,
    LEADER_CHANGED,
    NOT_CAPABLE,
    STOPPED,
    TIMEOUT,
    TIMEOUT_DUE_TO_LEADER_FAIL,
    TIMEOUT_DUE_TO_CONNECTION_LOST,
    TIMEOUT_WAIT_APPLIED_INDEX,
    UNHEALTHY,
    CORRUPT,
    NOT_SUPPORTED_FOR_LEARNER,
    BAD_LEADER_TRANSFEREE,
    WRONG_DOWNGRADE_VERSION_FORMAT,
    INVALID_DOWNGRADE_TARGET_VERSION,
    CLUSTER_VERSION_UNAVAILABLE,
    DOWNGRADE_IN_PROCESS,
    NO_INFLIGHT_DOWNGRADE,
    CANCELED,
    DEADLINE_EXCEEDED,
)
"""The published list, in its order."""

BY_MESSAGE: dict[str, StoreError] = {error.message: error for error in (*ALL, *OWN)}
"""Message to error: how a client tells errors apart."""
