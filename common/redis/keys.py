"""Keys of Redis, all built here and nowhere else; `Shards` makes the objects that build them.

All keys of a shard carry the hash tag `{shard}`, so that the keys of one script lie in one slot of
a Redis Cluster. Keys that are of no shard carry the tag of the standalone one. Lua scripts get the
prefixes that end in a colon and append a partition or a scoped channel name (`default/room:1`).
"""

from dataclasses import dataclass, field
from typing import Final

STANDALONE_SHARD: Final = "0"


@dataclass(frozen=True, slots=True)
class ShardKeys:
    """Keys of one shard: of its queue, its channels, its event stream and its users' inboxes.

    Attributes:
        shard: its name.
        root: prefix of every key of the shard.
    """

    shard: str
    root: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", f"rc:{{{self.shard}}}:")

    def door(self, lane: str) -> str:
        """List: jobs that were LPUSHed by hand."""
        return f"{self.root}jobs:{lane}"

    @property
    def jobs_prefix(self) -> str:
        """Prefix of the job lists: followed by `<lane>:<partition>`."""
        return f"{self.root}jobs:"

    def jobs(self, lane: str, partition: int) -> str:
        """List: waiting jobs of one partition, oldest at the tail."""
        return f"{self.root}jobs:{lane}:{partition}"

    @property
    def ready_prefix(self) -> str:
        """Prefix of the ready lists: followed by `<lane>`."""
        return f"{self.root}ready:"

    def ready(self, lane: str) -> str:
        """List: turns that nobody holds, of partitions that have jobs."""
        return f"{self.root}ready:{lane}"

    @property
    def active_prefix(self) -> str:
        """Prefix of the active sets: followed by `<lane>`."""
        return f"{self.root}active:"

    def active(self, lane: str) -> str:
        """Set: partitions whose turn is ready or held."""
        return f"{self.root}active:{lane}"

    @property
    def held_prefix(self) -> str:
        """Prefix of the held lists: followed by a holder, `<worker>:<lane>.<loop>.<life>`."""
        return f"{self.root}held:"

    def held(self, holder: str) -> str:
        """List: turns that one loop of one worker holds."""
        return f"{self.root}held:{holder}"

    @property
    def workers(self) -> str:
        """Sorted set: holder → Redis time (ms) at which its lease runs out."""
        return f"{self.root}workers"

    @property
    def waiting(self) -> str:
        """Hash: lane → number of waiting jobs."""
        return f"{self.root}waiting"

    @property
    def backlog(self) -> str:
        """Hash: `<lane>/<client>` → that client's waiting jobs; `bytes` → size of all once sent."""
        return f"{self.root}backlog"

    @property
    def returns(self) -> str:
        """Hash: `<lane>:<partition>` → how often in a row its turn came back from a dead worker."""
        return f"{self.root}returns"

    @property
    def accepted_prefix(self) -> str:
        """Prefix of the strings that record acceptances: followed by an id or a key."""
        return f"{self.root}accepted:"

    @property
    def epoch(self) -> str:
        """Hash: epoch `e` that channels begin in, its run `r`, its time `t`, the one before `p`."""
        return f"{self.root}epoch"

    def entered(self, epoch: str) -> str:
        """String: Bloom filter of the channels that have been in an epoch (`epoch.lib.lua`)."""
        return f"{self.root}epoch:{epoch}"

    @property
    def channel_prefix(self) -> str:
        """Prefix of the channel hashes: followed by the scoped channel name."""
        return f"{self.root}channel:"

    @property
    def log_prefix(self) -> str:
        """Prefix of the channel logs: followed by the scoped channel name."""
        return f"{self.root}log:"

    @property
    def pub_prefix(self) -> str:
        """Prefix of the pub/sub channels: followed by the scoped channel name."""
        return f"{self.root}pub:"

    def pub(self, scoped_channel: str) -> str:
        """Pub/sub channel of live publications."""
        return f"{self.root}pub:{scoped_channel}"

    def probe(self, gateway: str) -> str:
        """Pub/sub channel of one gateway's readiness probes; no client can subscribe to it."""
        return f"{self.root}pub:!probe/{gateway}"

    @property
    def content_prefix(self) -> str:
        """Prefix of shared contents (`common.model.shared_content`): followed by a digest."""
        return f"{self.root}content:"

    @property
    def contents(self) -> str:
        """Sorted set: digest of a shared content → Unix time (ms) of the last event with it."""
        return f"{self.root}contents"

    @property
    def write_probe(self) -> str:
        """Key that `probe.lua` writes and deletes at once."""
        return f"{self.root}probe"

    @property
    def events(self) -> str:
        """Stream: every publication and receipt, for the Kafka bridge and the history writer."""
        return f"{self.root}events"

    @property
    def dropped(self) -> str:
        """Hash: reader of the event stream → entries it lost: count, ids around them, since."""
        return f"{self.root}events:dropped"

    @property
    def event_clients(self) -> str:
        """Hash: client → about how many entries of the event stream it caused."""
        return f"{self.root}events:clients"

    def reader(self, group: str) -> str:
        """String with expiry: the leading replica of a reader of the event stream."""
        return f"{self.root}reader:{group}"

    @property
    def restored(self) -> str:
        """Hash: the restoration of this Redis from Kafka: its time, and whether it is complete."""
        return f"{self.root}restored"

    def unread(self, user: str) -> str:
        """Sorted set: a scoped user's (`default/1`) unread notifications, by creation (Unix ms).

        It is a cache, valid only together with `inbox`, whose stamp its empty member has.
        """
        return f"{self.root}unread:{user}"

    def inbox(self, user: str) -> str:
        """Hash with expiry: stamp of a scoped user's cached inbox, and its first page."""
        return f"{self.root}inbox:{user}"

    def reads(self, user: str) -> str:
        """Sorted set with expiry: a scoped user's recent reads, by time (Unix ms)."""
        return f"{self.root}reads:{user}"

    def acks(self, user: str) -> str:
        """Sorted set with expiry: a scoped user's recent acknowledgements, by time (Unix ms)."""
        return f"{self.root}acks:{user}"

    def changes(self, user: str) -> str:
        """Hash with expiry: last read `r` and last change `m` of a scoped user's inbox.

        `q` is the time (Unix ms) until which nothing may be cached.
        """
        return f"{self.root}changes:{user}"

    @property
    def sights(self) -> str:
        """Sorted set with expiry: scoped users who connected recently, by time (Unix ms)."""
        return f"{self.root}sights"

    @property
    def dead(self) -> str:
        """Stream: dead letters of the client `default`, and those without a client."""
        return f"{self.root}dead"

    def dead_of(self, client: str) -> str:
        """Stream: dead letters of another client."""
        return f"{self.root}dead:{client}"

    @property
    def dead_clients(self) -> str:
        """Set: the clients that have had such a stream."""
        return f"{self.root}dead_clients"


@dataclass(frozen=True, slots=True)
class GlobalKeys:
    """Keys of no shard: of the clients, their tickets, limits, usage and connections.

    Attributes:
        root: prefix of every such key.
    """

    root: str = field(default=f"rc:{{{STANDALONE_SHARD}}}:", init=False)

    @property
    def clients(self) -> str:
        """Hash: client id → its version, a space, and its record (`common.auth.client_records`)."""
        return f"{self.root}clients"

    @property
    def clients_order(self) -> str:
        """Sorted set: client id → number of its last change in this Redis."""
        return f"{self.root}clients:order"

    @property
    def clients_head(self) -> str:
        """Hash: `s` is the last such number; `g` changes when this Redis starts empty."""
        return f"{self.root}clients:head"

    def ticket(self, name: str) -> str:
        """String with expiry: the sealed grant of an unused ticket (`common.auth.tickets`)."""
        return f"{self.root}ticket:{name}"

    @property
    def tickets_prefix(self) -> str:
        """Prefix of sorted sets with expiry: followed by a client, or by a scoped user.

        Each holds the names of their unused tickets, by expiry (Unix ms).
        """
        return f"{self.root}tickets:"

    @property
    def limits(self) -> str:
        """Prefix of strings with expiry: each client's spent part of a limit in a window."""
        return f"{self.root}limits"

    def usage(self, client: str, day: str) -> str:
        """Hash with expiry: outcomes of a client's notifications on a UTC day, `2026-11-21`."""
        return f"{self.root}usage:{client}:{day}"

    @property
    def connections(self) -> str:
        """Hash with expiry: gateway → Unix time (ms) and its connections by client, as JSON."""
        return f"{self.root}connections"
