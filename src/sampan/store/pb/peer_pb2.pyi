from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Greeting(_message.Message):
    __slots__ = ("cluster", "sender", "receiver", "oldest", "newest", "unix_ms", "version")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    RECEIVER_FIELD_NUMBER: _ClassVar[int]
    OLDEST_FIELD_NUMBER: _ClassVar[int]
    NEWEST_FIELD_NUMBER: _ClassVar[int]
    UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    cluster: int
    sender: int
    receiver: int
    oldest: int
    newest: int
    unix_ms: int
    version: str
    def __init__(self, cluster: _Optional[int] = ..., sender: _Optional[int] = ..., receiver: _Optional[int] = ..., oldest: _Optional[int] = ..., newest: _Optional[int] = ..., unix_ms: _Optional[int] = ..., version: _Optional[str] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("version", "unix_ms")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    version: int
    unix_ms: int
    def __init__(self, version: _Optional[int] = ..., unix_ms: _Optional[int] = ...) -> None: ...

class Packet(_message.Message):
    __slots__ = ("greeting", "frame")
    GREETING_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    greeting: Greeting
    frame: Frame
    def __init__(self, greeting: _Optional[_Union[Greeting, _Mapping]] = ..., frame: _Optional[_Union[Frame, _Mapping]] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    def __init__(self, messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("type", "to", "sender", "term", "index", "log_term", "commit", "reject", "hint", "forced", "context", "runs", "snapshot")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    LOG_TERM_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    REJECT_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    FORCED_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    type: int
    to: int
    sender: int
    term: int
    index: int
    log_term: int
    commit: int
    reject: bool
    hint: int
    forced: bool
    context: bytes
    runs: _containers.RepeatedCompositeFieldContainer[Run]
    snapshot: SnapshotMark
    def __init__(self, type: _Optional[int] = ..., to: _Optional[int] = ..., sender: _Optional[int] = ..., term: _Optional[int] = ..., index: _Optional[int] = ..., log_term: _Optional[int] = ..., commit: _Optional[int] = ..., reject: _Optional[bool] = ..., hint: _Optional[int] = ..., forced: _Optional[bool] = ..., context: _Optional[bytes] = ..., runs: _Optional[_Iterable[_Union[Run, _Mapping]]] = ..., snapshot: _Optional[_Union[SnapshotMark, _Mapping]] = ...) -> None: ...

class Run(_message.Message):
    __slots__ = ("term", "first_index", "type", "lengths", "data")
    TERM_FIELD_NUMBER: _ClassVar[int]
    FIRST_INDEX_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    LENGTHS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    term: int
    first_index: int
    type: int
    lengths: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    def __init__(self, term: _Optional[int] = ..., first_index: _Optional[int] = ..., type: _Optional[int] = ..., lengths: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ...) -> None: ...

class SnapshotMark(_message.Message):
    __slots__ = ("index", "term", "conf_state")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    CONF_STATE_FIELD_NUMBER: _ClassVar[int]
    index: int
    term: int
    conf_state: ConfState
    def __init__(self, index: _Optional[int] = ..., term: _Optional[int] = ..., conf_state: _Optional[_Union[ConfState, _Mapping]] = ...) -> None: ...

class ConfState(_message.Message):
    __slots__ = ("voters", "learners", "voters_outgoing", "learners_next", "auto_leave")
    VOTERS_FIELD_NUMBER: _ClassVar[int]
    LEARNERS_FIELD_NUMBER: _ClassVar[int]
    VOTERS_OUTGOING_FIELD_NUMBER: _ClassVar[int]
    LEARNERS_NEXT_FIELD_NUMBER: _ClassVar[int]
    AUTO_LEAVE_FIELD_NUMBER: _ClassVar[int]
    voters: _containers.RepeatedScalarFieldContainer[int]
    learners: _containers.RepeatedScalarFieldContainer[int]
    voters_outgoing: _containers.RepeatedScalarFieldContainer[int]
    learners_next: _containers.RepeatedScalarFieldContainer[int]
    auto_leave: bool
    def __init__(self, voters: _Optional[_Iterable[int]] = ..., learners: _Optional[_Iterable[int]] = ..., voters_outgoing: _Optional[_Iterable[int]] = ..., learners_next: _Optional[_Iterable[int]] = ..., auto_leave: _Optional[bool] = ...) -> None: ...

class SnapshotPiece(_message.Message):
    __slots__ = ("greeting", "message", "block", "sha256")
    GREETING_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    greeting: Greeting
    message: Message
    block: bytes
    sha256: bytes
    def __init__(self, greeting: _Optional[_Union[Greeting, _Mapping]] = ..., message: _Optional[_Union[Message, _Mapping]] = ..., block: _Optional[bytes] = ..., sha256: _Optional[bytes] = ...) -> None: ...

class Question(_message.Message):
    __slots__ = ("greeting", "subject", "body")
    GREETING_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    greeting: Greeting
    subject: str
    body: bytes
    def __init__(self, greeting: _Optional[_Union[Greeting, _Mapping]] = ..., subject: _Optional[str] = ..., body: _Optional[bytes] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("body",)
    BODY_FIELD_NUMBER: _ClassVar[int]
    body: bytes
    def __init__(self, body: _Optional[bytes] = ...) -> None: ...

class Joining(_message.Message):
    __slots__ = ("ID", "name", "peerURLs", "clientURLs", "isLearner", "max_learners")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PEERURLS_FIELD_NUMBER: _ClassVar[int]
    CLIENTURLS_FIELD_NUMBER: _ClassVar[int]
    ISLEARNER_FIELD_NUMBER: _ClassVar[int]
    MAX_LEARNERS_FIELD_NUMBER: _ClassVar[int]
    ID: int
    name: str
    peerURLs: _containers.RepeatedScalarFieldContainer[str]
    clientURLs: _containers.RepeatedScalarFieldContainer[str]
    isLearner: bool
    max_learners: int
    def __init__(self, ID: _Optional[int] = ..., name: _Optional[str] = ..., peerURLs: _Optional[_Iterable[str]] = ..., clientURLs: _Optional[_Iterable[str]] = ..., isLearner: _Optional[bool] = ..., max_learners: _Optional[int] = ...) -> None: ...

class Members(_message.Message):
    __slots__ = ("cluster", "members")
    class Known(_message.Message):
        __slots__ = ("id", "name", "peer_urls", "client_urls", "is_learner")
        ID_FIELD_NUMBER: _ClassVar[int]
        NAME_FIELD_NUMBER: _ClassVar[int]
        PEER_URLS_FIELD_NUMBER: _ClassVar[int]
        CLIENT_URLS_FIELD_NUMBER: _ClassVar[int]
        IS_LEARNER_FIELD_NUMBER: _ClassVar[int]
        id: int
        name: str
        peer_urls: _containers.RepeatedScalarFieldContainer[str]
        client_urls: _containers.RepeatedScalarFieldContainer[str]
        is_learner: bool
        def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ..., peer_urls: _Optional[_Iterable[str]] = ..., client_urls: _Optional[_Iterable[str]] = ..., is_learner: _Optional[bool] = ...) -> None: ...
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    cluster: int
    members: _containers.RepeatedCompositeFieldContainer[Members.Known]
    def __init__(self, cluster: _Optional[int] = ..., members: _Optional[_Iterable[_Union[Members.Known, _Mapping]]] = ...) -> None: ...
