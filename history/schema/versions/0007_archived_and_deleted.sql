-- What users archived or marked unread, and users who were deleted.

CREATE TABLE inbox_archived (
    client         text COLLATE "C" NOT NULL,
    user_id        text COLLATE "C" NOT NULL,
    created_at     timestamptz NOT NULL,
    notification   text COLLATE "C" NOT NULL,
    archived       boolean NOT NULL,
    changed_ms     bigint NOT NULL,     -- id in the event stream of the last change
    changed_number bigint NOT NULL,
    PRIMARY KEY (client, user_id, created_at, notification)
);
CREATE INDEX inbox_archived_now ON inbox_archived (client, user_id, created_at, notification)
    WHERE archived;

-- Who was deleted, without who it was: what older events say of them does not count any more.
CREATE TABLE deleted_users (
    client         text COLLATE "C" NOT NULL,
    digest         bytea NOT NULL,      -- SHA-256 of the client, a slash and the id
    at             timestamptz NOT NULL,
    changed_ms     bigint NOT NULL,
    changed_number bigint NOT NULL,
    PRIMARY KEY (client, digest)
);
-- Whose receipts and notifications are still to be removed, which takes its time.
CREATE TABLE leftovers (
    client  text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    at      timestamptz NOT NULL,
    looked_at timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (client, user_id)
);

ALTER TABLE changes
    ADD notification text COLLATE "C" NOT NULL DEFAULT '',
    ADD created_at   timestamptz;       -- of the notification

CREATE FUNCTION user_digest(a_client text, a_user text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT sha256(convert_to(a_client || '/' || a_user, 'UTF8'))
$$;

CREATE OR REPLACE FUNCTION inbox_channels(a_client text, a_user text)
RETURNS TABLE (channel text, since timestamptz) LANGUAGE sql STABLE AS $$
    SELECT 'user:' || a_user, coalesce(
        (SELECT at + interval '1 microsecond' FROM deleted_users
            WHERE client = a_client AND digest = user_digest(a_client, a_user)),
        '-infinity'::timestamptz
    )
    UNION ALL SELECT 'broadcast', '-infinity'::timestamptz
    UNION ALL SELECT 'room:' || room, joined_at FROM room_members
        WHERE client = a_client AND user_id = a_user AND joined_at IS NOT NULL
$$;

CREATE OR REPLACE FUNCTION apply_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM deleted_users gone
        WHERE gone.client = NEW.client AND gone.digest = user_digest(NEW.client, NEW.user_id)
            AND (gone.changed_ms, gone.changed_number) > (NEW.event_ms, NEW.event_number)
    ) THEN
        RETURN NULL;
    END IF;
    IF NEW.kind IN ('member-joined', 'member-left') THEN
        INSERT INTO room_members AS known
            (client, room, user_id, joined_at, changed_ms, changed_number)
        VALUES (
            NEW.client, NEW.room, NEW.user_id,
            CASE WHEN NEW.kind = 'member-joined' THEN NEW.at END,
            NEW.event_ms, NEW.event_number
        )
        ON CONFLICT (client, room, user_id) DO UPDATE SET
            joined_at = CASE WHEN excluded.joined_at IS NOT NULL
                THEN coalesce(known.joined_at, excluded.joined_at) END,
            changed_ms = excluded.changed_ms,
            changed_number = excluded.changed_number
        WHERE (known.changed_ms, known.changed_number)
            < (excluded.changed_ms, excluded.changed_number);
    ELSIF NEW.kind IN ('archived', 'unarchived') THEN
        INSERT INTO inbox_archived AS known
            (client, user_id, created_at, notification, archived, changed_ms, changed_number)
        VALUES (
            NEW.client, NEW.user_id, NEW.created_at, NEW.notification, NEW.kind = 'archived',
            NEW.event_ms, NEW.event_number
        )
        ON CONFLICT (client, user_id, created_at, notification) DO UPDATE SET
            archived = excluded.archived,
            changed_ms = excluded.changed_ms,
            changed_number = excluded.changed_number
        WHERE (known.changed_ms, known.changed_number)
            < (excluded.changed_ms, excluded.changed_number);
    ELSIF NEW.kind = 'unread' THEN
        INSERT INTO inbox_unread AS known (client, user_id, created_at, notification, marked_at)
        VALUES (NEW.client, NEW.user_id, NEW.created_at, NEW.notification, NEW.at)
        ON CONFLICT (client, user_id, created_at, notification) DO UPDATE
            SET marked_at = greatest(known.marked_at, excluded.marked_at);
    ELSIF NEW.kind = 'user-deleted' THEN
        INSERT INTO deleted_users AS known (client, digest, at, changed_ms, changed_number)
        VALUES (
            NEW.client, user_digest(NEW.client, NEW.user_id), NEW.at,
            NEW.event_ms, NEW.event_number
        )
        ON CONFLICT (client, digest) DO UPDATE SET
            at = excluded.at,
            changed_ms = excluded.changed_ms,
            changed_number = excluded.changed_number
        WHERE (known.changed_ms, known.changed_number)
            < (excluded.changed_ms, excluded.changed_number);
        -- What came behind this event, and was brought in already, stays.
        DELETE FROM room_members WHERE client = NEW.client AND user_id = NEW.user_id
            AND (changed_ms, changed_number) < (NEW.event_ms, NEW.event_number);
        DELETE FROM users WHERE client = NEW.client AND id = NEW.user_id AND created_at <= NEW.at;
        DELETE FROM inboxes WHERE client = NEW.client AND user_id = NEW.user_id;
        DELETE FROM inbox_unread WHERE client = NEW.client AND user_id = NEW.user_id
            AND created_at <= NEW.at;
        DELETE FROM inbox_archived WHERE client = NEW.client AND user_id = NEW.user_id
            AND created_at <= NEW.at;
        INSERT INTO leftovers (client, user_id, at) VALUES (NEW.client, NEW.user_id, NEW.at)
        ON CONFLICT (client, user_id) DO UPDATE SET at = greatest(leftovers.at, excluded.at);
    ELSE
        INSERT INTO users AS known (client, id, created_at, read_through)
        VALUES (
            NEW.client, NEW.user_id, NEW.at,
            CASE WHEN NEW.kind = 'read-all' THEN NEW.at ELSE '-infinity' END
        )
        ON CONFLICT (client, id) DO UPDATE SET read_through = excluded.read_through
        WHERE known.read_through < excluded.read_through;
    END IF;
    RETURN NULL;
END
$$;

-- Remove some of what a user left who was deleted, at most so many rows of each kind. Without a user it
-- is the one whose turn it is.
-- Returns how many were removed.
CREATE FUNCTION remove_leftovers(most integer, a_client text, a_user text) RETURNS bigint LANGUAGE plpgsql
SET enable_seqscan = off AS $$
DECLARE
    whose   leftovers;
    removed bigint;
    total   bigint := 0;
BEGIN
    SELECT * INTO whose FROM leftovers
        WHERE client = coalesce(a_client, client) AND user_id = coalesce(a_user, user_id)
        ORDER BY looked_at LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN RETURN 0; END IF;
    UPDATE leftovers SET looked_at = clock_timestamp()
        WHERE client = whose.client AND user_id = whose.user_id;
    DELETE FROM receipts r USING (
        SELECT client, notification, user_id, kind, at FROM receipts
        WHERE client = whose.client AND user_id = whose.user_id AND at <= whose.at LIMIT most
    ) old
    WHERE r.client = old.client AND r.notification = old.notification AND r.user_id = old.user_id
        AND r.kind = old.kind AND r.at = old.at;
    GET DIAGNOSTICS removed = ROW_COUNT;
    total := total + removed;
    DELETE FROM publications p USING (
        SELECT client, created_at, notification, channel, epoch, "offset" FROM publications
        WHERE client = whose.client AND channel = 'user:' || whose.user_id
            AND created_at <= whose.at LIMIT most
    ) old
    WHERE p.client = old.client AND p.created_at = old.created_at
        AND p.notification = old.notification AND p.channel = old.channel
        AND p.epoch = old.epoch AND p."offset" = old."offset";
    GET DIAGNOSTICS removed = ROW_COUNT;
    total := total + removed;
    DELETE FROM writes w USING (
        SELECT client, channel, epoch, first_offset, last_offset, gateway, at FROM writes
        WHERE client = whose.client AND channel = 'user:' || whose.user_id
            AND at <= whose.at LIMIT most
    ) old
    WHERE w.client = old.client AND w.channel = old.channel AND w.epoch = old.epoch
        AND w.first_offset = old.first_offset AND w.last_offset = old.last_offset
        AND w.gateway = old.gateway AND w.at = old.at;
    GET DIAGNOSTICS removed = ROW_COUNT;
    total := total + removed;
    -- What waited in a queue may still come: it is looked for again until nothing can.
    IF total = 0 AND whose.at < now() - interval '1 day' THEN
        DELETE FROM leftovers WHERE client = whose.client AND user_id = whose.user_id;
    END IF;
    RETURN total;
END
$$;

-- A user's rooms in pages, by room.
DROP INDEX room_members_by_user;
CREATE INDEX room_members_by_user ON room_members (client, user_id, room);
