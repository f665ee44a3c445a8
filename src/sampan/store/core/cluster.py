"""The members of the cluster, their IDs and their addresses.

Kept as etcd keeps them: bucket `members`, member ID in hex to a JSON object {id, peerURLs, name,
clientURLs}; bucket `cluster`, clusterVersion. IDs are derived from the peer URLs and the cluster's
token in etcd's way, so that the same command line gives the same IDs.

Source: etcd's server/etcdserver/api/membership and client/pkg/types/urls.go.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha1
from typing import Final
from urllib.parse import urlsplit

from sampan.store.core import errors
from sampan.store.core.backend import META_BUCKET, Backend
from sampan.store.core.version import CLUSTER_VERSION, STORAGE_VERSION
from sampan.store.pb import rpc_pb2 as rpc

__all__ = ["ClusterInfo", "Member", "check_urls", "derive_cluster_id", "derive_member_id"]

_MEMBERS: Final = "members"
_CLUSTER: Final = "cluster"
_SCHEMES: Final = frozenset(("http", "https", "unix", "unixs"))


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
    """The cluster as this member sees it; today it is the only one."""

    def __init__(
        self,
        backend: Backend,
        cluster_id: int,
        member_id: int,
        name: str,
        peer_urls: Sequence[str],
        client_urls: Sequence[str],
    ) -> None:
        """Load the members from `backend`, and publish this one's name and client URLs.

        `peer_urls` counts only for a member not stored yet: later they change by MemberUpdate.
        """
        self.cluster_id = cluster_id
        self.member_id = member_id
        self._backend = backend
        self._members: dict[int, Member] = {}
        self.restore()
        known = self._members.get(member_id, Member(member_id, tuple(peer_urls)))
        self._put(replace(known, name=name, client_urls=tuple(client_urls)))
        if backend.get(_CLUSTER, b"clusterVersion") != CLUSTER_VERSION.encode():
            backend.put(_CLUSTER, b"clusterVersion", CLUSTER_VERSION.encode())
        # Tells the tools that read a snapshot of which release its schema is.
        if backend.get(META_BUCKET, b"storageVersion") != STORAGE_VERSION.encode():
            backend.put(META_BUCKET, b"storageVersion", STORAGE_VERSION.encode())

    def restore(self) -> None:
        """Take the members from the backend, as after a snapshot has replaced it."""
        stored = (Member.from_json(raw) for _, raw in self._backend.scan(_MEMBERS))
        self._members = {member.id: member for member in stored}

    @property
    def me(self) -> Member:
        """This member."""
        return self._members[self.member_id]

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
        """Publish this member's addresses for clients."""
        self._put(replace(self.me, client_urls=tuple(client_urls)))

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
