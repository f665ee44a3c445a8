"""The members of the cluster, their IDs and their addresses.

Kept as etcd keeps them: bucket `members`, member ID in hex to a JSON object {id, peerURLs, name,
clientURLs}; bucket `cluster`, clusterVersion. IDs are derived from the peer URLs and the cluster's
token in etcd's way, so that the same command line gives the same IDs.

Source: etcd's server/etcdserver/api/membership and client/pkg/types/urls.go.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha1
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from sampan.store.core import errors
from sampan.store.core.backend import META_BUCKET, Backend
from sampan.store.core.entry import Kind
from sampan.store.core.version import CLUSTER_VERSION, STORAGE_VERSION
from sampan.store.pb import peer_pb2
from sampan.store.pb import rpc_pb2 as rpc

__all__ = [
    "ClusterInfo",
    "Member",
    "check_urls",
    "derive_cluster_id",
    "derive_member_id",
    "draw_member_id",
]

_MEMBERS: Final = "members"
_REMOVED: Final = "members_removed"
_CLUSTER: Final = "cluster"
_SCHEMES: Final = frozenset(("http", "https", "unix", "unixs"))


_Changed: TypeAlias = rpc.MemberAddResponse | rpc.MemberRemoveResponse | rpc.MemberPromoteResponse


@dataclass(frozen=True, slots=True)
class Member:
    """One member; `name` and `client_urls` are empty until it has started."""

    id: int
    peer_urls: tuple[str, ...]
    name: str = ""
    client_urls: tuple[str, ...] = ()
    is_learner: bool = False

    def to_message(self) -> rpc.Member:
        """Return the member as the API shows it."""
        return rpc.Member(
            ID=self.id,
            name=self.name,
            peerURLs=self.peer_urls,
            clientURLs=self.client_urls,
            isLearner=self.is_learner,
        )

    def to_json(self) -> bytes:
        """Return the stored form; empty fields are left out as etcd leaves them out."""
        fields: dict[str, object] = {"id": self.id, "peerURLs": list(self.peer_urls)}
        if self.is_learner:
            fields["isLearner"] = True
        if self.name:
            fields["name"] = self.name
        if self.client_urls:
            fields["clientURLs"] = list(self.client_urls)
        return json.dumps(fields, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, raw: bytes) -> Member:
        """Return the member of a stored form."""
        fields = json.loads(raw)
        return cls(
            id=fields["id"],
            peer_urls=tuple(fields.get("peerURLs") or ()),
            name=fields.get("name", ""),
            client_urls=tuple(fields.get("clientURLs") or ()),
            is_learner=fields.get("isLearner", False),
        )


def derive_member_id(peer_urls: Iterable[str], token: str) -> int:
    """Return the ID of a first member: from its peer URLs and the cluster's token."""
    return _first_u64("".join(sorted(peer_urls)).encode() + token.encode())


def draw_member_id(peer_urls: Iterable[str], token: str, unix_ns: int) -> int:
    """Return the ID of a member that is added later: as `derive_member_id`, and from the time."""
    return _first_u64("".join(sorted(peer_urls)).encode() + token.encode() + b"%d" % unix_ns)


def derive_cluster_id(member_ids: Iterable[int]) -> int:
    """Return the ID of a cluster: from the IDs of its first members."""
    return _first_u64(b"".join(member.to_bytes(8, "big") for member in sorted(member_ids)))


def _first_u64(data: bytes) -> int:
    return int.from_bytes(sha1(data, usedforsecurity=False).digest()[:8], "big")


def check_urls(urls: Sequence[str]) -> tuple[str, ...]:
    """Return the URLs sorted. Raises MEMBER_BAD_URLS unless each is a member's address.

    That is: a known scheme, host and port (a path for unix sockets), and nothing behind it.
    """
    if not urls:
        raise errors.MEMBER_BAD_URLS()
    stripped = [url.strip() for url in urls]
    if not all(map(_is_member_url, stripped)):
        raise errors.MEMBER_BAD_URLS()
    return tuple(sorted(stripped))


def _is_member_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme not in _SCHEMES:
        return False
    if parts.scheme.startswith("unix"):
        return bool(parts.netloc or parts.path)
    return port is not None and not parts.path and not parts.query and not parts.fragment


class ClusterInfo:
    """The cluster as this member sees it."""

    def __init__(
        self,
        backend: Backend,
        cluster_id: int,
        member_id: int,
        name: str,
        peer_urls: Sequence[str],
        client_urls: Sequence[str],
        *,
        alone: bool = True,
    ) -> None:
        """Load the members from `backend`; one that is alone publishes name and client URLs now.

        Several learn of each other by the log: what this one is like it tells by `attributes`.
        `peer_urls` counts only for a member not stored yet: later they change by MemberUpdate.
        """
        self.cluster_id = cluster_id
        self.member_id = member_id
        self.alone = alone
        self.observer: Callable[[], None] | None = None
        """Called after every change of the members."""
        self._backend = backend
        self._members: dict[int, Member] = {}
        self._removed: set[int] = set()
        self._own = Member(member_id, tuple(peer_urls), name, tuple(client_urls))
        self.restore()
        if alone:
            self.settle_alone()
        if backend.get(_CLUSTER, b"clusterVersion") != CLUSTER_VERSION.encode():
            backend.put(_CLUSTER, b"clusterVersion", CLUSTER_VERSION.encode())
        # Tells the tools that read a snapshot of which release its schema is.
        if backend.get(META_BUCKET, b"storageVersion") != STORAGE_VERSION.encode():
            backend.put(META_BUCKET, b"storageVersion", STORAGE_VERSION.encode())

    def settle_alone(self) -> None:
        """Be a cluster of one: tell nobody, write it down."""
        self.alone = True
        own = self._own
        known = self._members.get(self.member_id, own)
        self._put(replace(known, name=own.name, client_urls=own.client_urls))

    def restore(self) -> None:
        """Take the members from the backend, as after a snapshot has replaced it."""
        stored = (Member.from_json(raw) for _, raw in self._backend.scan(_MEMBERS))
        self._members = {member.id: member for member in stored}
        self._removed = {int(key, 16) for key, _ in self._backend.scan(_REMOVED)}
        self._changed()

    @property
    def me(self) -> Member:
        """This member; as it was started until the log has brought it."""
        return self._members.get(self.member_id, self._own)

    @property
    def name(self) -> str:
        """This member's human-readable name."""
        return self.me.name

    @property
    def peer_urls(self) -> tuple[str, ...]:
        """This member's addresses for other members."""
        return self.me.peer_urls

    @property
    def client_urls(self) -> tuple[str, ...]:
        """This member's advertised addresses for clients."""
        return self.me.client_urls

    def advertise(self, client_urls: Sequence[str]) -> None:
        """Publish this member's addresses for clients, or remember to tell the others."""
        self._own = replace(self._own, client_urls=tuple(client_urls))
        if self.alone:
            self._put(replace(self.me, client_urls=tuple(client_urls)))

    @property
    def attributes(self) -> bytes | None:
        """The body of the MEMBER_ATTRIBUTES entry that is due, None if all know them already."""
        known = self._members.get(self.member_id)
        own = self._own
        if known is None or (known.name, known.client_urls) == (own.name, own.client_urls):
            return None
        message = rpc.Member(ID=own.id, name=own.name, clientURLs=own.client_urls)
        return message.SerializeToString()

    def is_removed(self, member_id: int) -> bool:
        """Whether a member was removed for good."""
        return member_id in self._removed

    def peers(self) -> dict[int, tuple[str, ...]]:
        """Return the addresses of the other members, by ID."""
        return {
            member.id: member.peer_urls
            for member in self._members.values()
            if member.id != self.member_id
        }

    def members(self) -> list[Member]:
        """Return all members, by ID."""
        return [self._members[member_id] for member_id in sorted(self._members)]

    def messages(self) -> list[rpc.Member]:
        """Return all members as the API shows them, by ID."""
        return [member.to_message() for member in self.members()]

    def member(self, member_id: int) -> Member:
        """Return one member. Raises MEMBER_NOT_FOUND."""
        if member_id not in self._members:
            raise errors.MEMBER_NOT_FOUND()
        return self._members[member_id]

    def check_add(self, peer_urls: Sequence[str]) -> tuple[str, ...]:
        """Check a new member's peer URLs and return them sorted.

        Raises MEMBER_BAD_URLS or PEER_URL_EXIST.
        """
        urls = check_urls(peer_urls)
        self._check_unused(urls, self._members.values())
        return urls

    def check_remove(self, member_id: int) -> None:
        """Check a removal. Raises MEMBER_NOT_FOUND, or MEMBER_NOT_ENOUGH_STARTED for the last."""
        self.member(member_id)
        if len(self._members) == 1:
            raise errors.MEMBER_NOT_ENOUGH_STARTED()

    def check_promote(self, member_id: int) -> None:
        """Check a promotion. Raises MEMBER_NOT_FOUND or MEMBER_NOT_LEARNER."""
        if not self.member(member_id).is_learner:
            raise errors.MEMBER_NOT_LEARNER()

    def voters(self) -> list[int]:
        """Return the IDs of the members that vote."""
        return [member.id for member in self.members() if not member.is_learner]

    def apply_update(self, body: bytes) -> rpc.MemberUpdateResponse:
        """Apply a serialized MemberUpdateRequest. Returns the response without its header.

        Raises MEMBER_NOT_FOUND, MEMBER_BAD_URLS or PEER_URL_EXIST and then changes nothing.
        """
        request = rpc.MemberUpdateRequest.FromString(body)
        member = self.member(request.ID)
        urls = check_urls(request.peerURLs)
        self._check_unused(urls, (other for other in self.members() if other.id != member.id))
        self._put(replace(member, peer_urls=urls))
        return rpc.MemberUpdateResponse(members=self.messages())

    def apply_change(self, kind: Kind, body: bytes) -> _Changed:
        """Apply an entry that adds, removes or promotes a member; return the response.

        Its header is left to the caller. Raises RpcError and then changes nothing.
        """
        if kind is Kind.MEMBER_ADD:
            return self._apply_add(peer_pb2.Joining.FromString(body))
        if kind is Kind.MEMBER_REMOVE:
            return self._apply_remove(rpc.MemberRemoveRequest.FromString(body).ID)
        return self._apply_promote(rpc.MemberPromoteRequest.FromString(body).ID)

    def _apply_add(self, added: peer_pb2.Joining) -> rpc.MemberAddResponse:
        if added.ID in self._removed:
            raise errors.MEMBER_NOT_FOUND()  # as etcd answers for one that was removed
        if added.ID in self._members:
            raise errors.MEMBER_EXIST()
        self._check_unused(tuple(added.peerURLs), self._members.values())
        learners = sum(member.is_learner for member in self._members.values())
        if added.isLearner and learners >= added.max_learners:
            raise errors.TOO_MANY_LEARNERS()
        urls, clients = tuple(added.peerURLs), tuple(added.clientURLs)
        member = Member(added.ID, urls, added.name, clients, added.isLearner)
        self._put(member)
        return rpc.MemberAddResponse(member=member.to_message(), members=self.messages())

    def _apply_remove(self, member_id: int) -> rpc.MemberRemoveResponse:
        self.member(member_id)
        del self._members[member_id]
        self._removed.add(member_id)
        key = f"{member_id:x}".encode()
        self._backend.delete(_MEMBERS, key)
        self._backend.put(_REMOVED, key, b"removed")
        self._changed()
        return rpc.MemberRemoveResponse(members=self.messages())

    def _apply_promote(self, member_id: int) -> rpc.MemberPromoteResponse:
        self.check_promote(member_id)
        self._put(replace(self._members[member_id], is_learner=False))
        return rpc.MemberPromoteResponse(members=self.messages())

    def apply_attributes(self, body: bytes) -> rpc.MemberListResponse:
        """Apply what a member tells of itself after its start; ignored for an unknown one."""
        told = rpc.Member.FromString(body)
        member = self._members.get(told.ID)
        if member is not None:
            self._put(replace(member, name=told.name, client_urls=tuple(told.clientURLs)))
        return rpc.MemberListResponse()

    def keep_only_me(self) -> None:
        """Forget all other members, as `--force-new-cluster` asks for."""
        for member_id in [each for each in self._members if each != self.member_id]:
            self._apply_remove(member_id)
        self._put(replace(self.me, is_learner=False))

    def _changed(self) -> None:
        if self.observer is not None:
            self.observer()

    def _check_unused(self, urls: Sequence[str], members: Iterable[Member]) -> None:
        used = {url for member in members for url in member.peer_urls}
        if used.intersection(urls):
            raise errors.PEER_URL_EXIST()

    def _put(self, member: Member) -> None:
        raw = member.to_json()
        key = f"{member.id:x}".encode()
        self._members[member.id] = member
        if self._backend.get(_MEMBERS, key) != raw:
            self._backend.put(_MEMBERS, key, raw)
        self._changed()
