-- What history keeps. Tables that grow are partitioned by time, and made smaller by dropping
-- partitions; keys hold the time because PostgreSQL wants the partition key in them. Every row comes
-- from an entry of the event stream that names it, so writing it twice changes nothing
-- (ON CONFLICT DO NOTHING). Texts are compared as bytes, whatever the database's locale is: indexes
-- are written several times faster that way.

CREATE TABLE publications (
    client       text COLLATE "C" NOT NULL,
    notification text COLLATE "C" NOT NULL,
    channel      text COLLATE "C" NOT NULL,  -- as clients see it: user:1, room:1, broadcast
    epoch        text COLLATE "C" NOT NULL,  -- '' and offset 0 for what expired
    "offset"     bigint NOT NULL,
    status       text COLLATE "C" NOT NULL CHECK (status IN ('published', 'expired')),
    type         text COLLATE "C" NOT NULL,
    sender       text COLLATE "C" NOT NULL,
    target       text COLLATE "C",
    priority     text COLLATE "C" NOT NULL,
    email        text COLLATE "C" NOT NULL DEFAULT '',
    frame        text COLLATE "C" NOT NULL,  -- the exact JSON text that clients got
    worker       text COLLATE "C" NOT NULL,
    created_at   timestamptz NOT NULL,
    published_at timestamptz NOT NULL,
    -- Times first: new rows go to the right end of the index, and it is the one by time as well.
    PRIMARY KEY (client, created_at, notification, channel, epoch, "offset")
) PARTITION BY RANGE (created_at);
CREATE INDEX publications_by_notification ON publications (client, notification);
CREATE INDEX publications_by_channel ON publications (client, channel, created_at DESC);

CREATE TABLE receipts (
    client       text COLLATE "C" NOT NULL,
    notification text COLLATE "C" NOT NULL,
    user_id      text COLLATE "C" NOT NULL,
    kind         text COLLATE "C" NOT NULL CHECK (kind IN ('delivered', 'read')),
    at           timestamptz NOT NULL,
    PRIMARY KEY (client, notification, user_id, kind, at)
) PARTITION BY RANGE (at);
CREATE INDEX receipts_by_user ON receipts (client, user_id, kind, notification);

-- A run of publications of one channel that a gateway wrote to so many sockets each.
CREATE TABLE writes (
    client       text COLLATE "C" NOT NULL,
    channel      text COLLATE "C" NOT NULL,
    epoch        text COLLATE "C" NOT NULL,
    first_offset bigint NOT NULL,
    last_offset  bigint NOT NULL,
    gateway      text COLLATE "C" NOT NULL,
    sockets      integer NOT NULL,
    at           timestamptz NOT NULL,
    PRIMARY KEY (client, channel, epoch, first_offset, last_offset, gateway, at)
) PARTITION BY RANGE (at);

CREATE TABLE mirrors (
    client       text COLLATE "C" NOT NULL,
    channel      text COLLATE "C" NOT NULL,
    epoch        text COLLATE "C" NOT NULL,
    "offset"     bigint NOT NULL,
    topic        text COLLATE "C" NOT NULL,
    partition    integer NOT NULL,
    kafka_offset bigint NOT NULL,
    at           timestamptz NOT NULL,
    PRIMARY KEY (client, channel, epoch, "offset", topic, partition, kafka_offset, at)
) PARTITION BY RANGE (at);

CREATE TABLE dead_letters (
    client       text COLLATE "C" NOT NULL,
    event        text COLLATE "C" NOT NULL,  -- id in the event stream
    notification text COLLATE "C" NOT NULL,  -- '' where the text has no id
    text         bytea NOT NULL,
    reason       text COLLATE "C" NOT NULL,
    at           timestamptz NOT NULL,
    PRIMARY KEY (client, event, at)
) PARTITION BY RANGE (at);
CREATE INDEX dead_letters_by_notification ON dead_letters (client, notification);

CREATE TABLE users (
    client       text COLLATE "C" NOT NULL,
    id           text COLLATE "C" NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    read_through timestamptz NOT NULL DEFAULT '-infinity',  -- all that was published until then is read
    PRIMARY KEY (client, id)
);

CREATE TABLE room_members (
    client       text COLLATE "C" NOT NULL,
    room         text COLLATE "C" NOT NULL,
    user_id      text COLLATE "C" NOT NULL,
    joined_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (client, room, user_id)
);
CREATE INDEX room_members_by_user ON room_members (client, user_id);
