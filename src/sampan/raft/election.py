"""Elections: standing, counting, winning (thesis 3.4, 3.6.1; pre-vote 9.6; disruption 4.2.3)."""

from __future__ import annotations

from enum import Enum

from sampan.base.errors import invariant
from sampan.raft import replication
from sampan.raft.message import Entry, EntryType, Message, MsgType, Role
from sampan.raft.options import ReadMode
from sampan.raft.quorum import VoteResult
from sampan.raft.state import Raft

__all__ = [
    "Campaign",
    "campaign",
    "count_vote",
    "handle_vote_request",
    "learn_commit",
    "stand",
    "tick",
]

_RESPONSE = {MsgType.VOTE: MsgType.VOTE_RESP, MsgType.PRE_VOTE: MsgType.PRE_VOTE_RESP}


class Campaign(Enum):
    """Why a member stands."""

    PRE_ELECTION = "pre-election"
    ELECTION = "election"
    TRANSFER = "transfer"


def tick(raft: Raft) -> None:
    """One tick of a member that does not lead."""
    raft.election_elapsed += 1
    if raft.election_elapsed >= raft.election_timeout and raft.promotable:
        raft.election_elapsed = 0
        campaign(raft)


def campaign(raft: Raft) -> None:
    """Stand as the options say; not while another leader's lease may rely on this member."""
    if raft.options.read_mode is not ReadMode.LEASE or not raft.in_lease:
        stand(raft, Campaign.PRE_ELECTION if raft.options.pre_vote else Campaign.ELECTION)


def stand(raft: Raft, reason: Campaign) -> None:
    """Stand for election, if the member may and does not lead already.

    A committed but not yet applied membership change must be applied first: the majority that
    counts could be another one.
    """
    if raft.role is Role.LEADER or not raft.promotable or _has_unapplied_conf_change(raft):
        return
    _campaign(raft, reason)


def _has_unapplied_conf_change(raft: Raft) -> bool:
    low, high = raft.log.applied + 1, raft.log.committed + 1
    while low < high:
        page = raft.log.slice(low, high, raft.options.max_applying_bytes)
        if any(entry.type is EntryType.CONF_CHANGE for entry in page):
            return True
        low += len(page)
    return False


def _campaign(raft: Raft, reason: Campaign) -> None:
    if reason is Campaign.PRE_ELECTION:
        _become_pre_candidate(raft)
        kind, term = MsgType.PRE_VOTE, raft.term + 1
    else:
        _become_candidate(raft)
        kind, term = MsgType.VOTE, raft.term
    last, last_term = raft.log.last_index(), raft.log.last_term()
    for member in sorted(raft.tracker.config.all_voters):
        if member == raft.id:
            # Its own vote counts once it is written, like anybody's.
            raft.send(Message(_RESPONSE[kind], to=raft.id, sender=raft.id, term=term))
            continue
        raft.send(
            Message(
                kind,
                to=member,
                sender=raft.id,
                term=term,
                index=last,
                log_term=last_term,
                forced=reason is Campaign.TRANSFER,
                commit=raft.log.committed,
                hint=raft.log.term(raft.log.committed),
            )
        )


def _become_pre_candidate(raft: Raft) -> None:
    """Ask without touching term or vote: a pre-vote binds nobody."""
    raft.transition(Role.PRE_CANDIDATE)
    raft.tracker.votes = {}
    raft.leader = 0
    raft.draw_timeout()


def _become_candidate(raft: Raft) -> None:
    raft.transition(Role.CANDIDATE)
    raft.reset(raft.term + 1)
    raft.vote = raft.id


def _become_leader(raft: Raft) -> None:
    raft.transition(Role.LEADER)
    raft.reset(raft.term)
    raft.leader = raft.id
    own = raft.tracker.progress[raft.id]
    own.become_replicate()
    own.recent_active = True
    # There may be a membership change among the entries it took over; waiting until all of them
    # are applied costs nothing.
    raft.pending_conf_index = raft.log.last_index()
    accepted = replication.append_entries(raft, [Entry(0, 0)])
    invariant(accepted, "an empty entry is never refused")


def count_vote(raft: Raft, response: Message) -> None:
    """A candidate counts an answer of its own kind, and draws the conclusion."""
    if response.reject and learn_commit(raft, response):
        return
    result = raft.tracker.record_vote(response.sender, not response.reject)
    if result is VoteResult.LOST:
        # A pre-vote is lost in the same term: PRE_VOTE_RESP never carries us to another.
        raft.become_follower(raft.term, 0)
    elif result is VoteResult.WON:
        if raft.role is Role.PRE_CANDIDATE:
            _campaign(raft, Campaign.ELECTION)
        else:
            _become_leader(raft)


def learn_commit(raft: Raft, message: Message) -> bool:
    """Commit what the other side of a vote knows to be committed, if it is in the own log.

    Needed since membership changes take effect as they are applied: a member whose log holds the
    end of a joint configuration, but which does not know that it is committed, asks for votes of
    those that it removes; and these, with longer logs, may refuse for ever. Says whether there
    is a membership change to apply now, which ends a candidacy.
    """
    log = raft.log
    if raft.role is Role.LEADER or message.commit <= log.committed:
        return False
    if not log.matches(message.commit, message.hint):
        return False
    log.commit_to(message.commit)
    if raft.role is Role.FOLLOWER or not _has_unapplied_conf_change(raft):
        return False
    raft.become_follower(raft.term, 0)
    return True


def handle_vote_request(raft: Raft, request: Message) -> None:
    """Answer VOTE or PRE_VOTE of the own term, or PRE_VOTE of a later one.

    One vote per term, first come first served, and only for a log as good as the own. Learners
    answer too: they may have become voters without knowing yet.
    """
    learn_commit(raft, request)
    pre = request.type is MsgType.PRE_VOTE
    free = raft.vote == 0 and raft.leader == 0
    may = raft.vote == request.sender or free or (pre and request.term > raft.term)
    granted = may and raft.log.is_up_to_date(request.index, request.log_term)
    raft.send(
        Message(
            _RESPONSE[request.type],
            to=request.sender,
            sender=raft.id,
            # A granted pre-vote answers for the term asked about, which is not ours yet.
            term=request.term if granted else raft.term,
            reject=not granted,
            commit=0 if granted else raft.log.committed,
            hint=0 if granted else raft.log.term(raft.log.committed),
        )
    )
    if granted and not pre:
        raft.election_elapsed = 0
        raft.vote = request.sender
