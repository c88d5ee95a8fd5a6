-- From when on a user has broadcasts: docs/design/inbox.md, "First sight".

CREATE TABLE sights (
    client         text COLLATE "C" NOT NULL,
    user_id        text COLLATE "C" NOT NULL,
    seen_at        timestamptz NOT NULL,
    changed_ms     bigint NOT NULL,     -- id in the event stream of the event that made the row
    changed_number bigint NOT NULL,
    PRIMARY KEY (client, user_id)
);

-- Whoever left anything here had all broadcasts so far, and keeps them. What deleted users left that
-- is still to be removed does not count.
INSERT INTO sights (client, user_id, seen_at, changed_ms, changed_number)
SELECT DISTINCT known.client, known.user_id, '-infinity'::timestamptz, 0, 0 FROM (
    SELECT client, id AS user_id FROM users
    UNION ALL SELECT client, user_id FROM room_members
    UNION ALL SELECT client, user_id FROM inboxes
    UNION ALL SELECT client, user_id FROM inbox_unread
    UNION ALL SELECT client, user_id FROM inbox_archived
    UNION ALL SELECT left_behind.client, left_behind.user_id FROM (
        SELECT client, user_id, max(at) AS at FROM receipts GROUP BY client, user_id
        UNION ALL
        SELECT client, substr(channel, 6), max(created_at) FROM publications
            WHERE channel LIKE 'user:%' AND status = 'published' GROUP BY client, channel
    ) left_behind
    WHERE NOT EXISTS (
        SELECT FROM deleted_users gone WHERE gone.client = left_behind.client
            AND gone.digest = user_digest(left_behind.client, left_behind.user_id)
            AND gone.at >= left_behind.at
    )
) known;

CREATE OR REPLACE FUNCTION inbox_channels(a_client text, a_user text)
RETURNS TABLE (channel text, since timestamptz) LANGUAGE sql STABLE AS $$
    SELECT 'user:' || a_user, coalesce(
        (SELECT at + interval '1 microsecond' FROM deleted_users
            WHERE client = a_client AND digest = user_digest(a_client, a_user)),
        '-infinity'::timestamptz
    )
    UNION ALL SELECT 'broadcast', seen_at FROM sights
        WHERE client = a_client AND user_id = a_user
    UNION ALL SELECT 'room:' || room, joined_at FROM room_members
        WHERE client = a_client AND user_id = a_user AND joined_at IS NOT NULL
$$;

-- Whoever was seen earlier than their inbox was settled is to have it looked through again from there on.
CREATE FUNCTION unsettle_seen() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE inboxes SET
            settled_created = least(settled_created, NEW.seen_at - interval '1 microsecond'),
            settled_published = least(settled_published, NEW.seen_at - interval '1 microsecond')
        WHERE client = NEW.client AND user_id = NEW.user_id AND settled_published >= NEW.seen_at;
    RETURN NULL;
END
$$;
CREATE TRIGGER unsettle_seen AFTER INSERT OR UPDATE OF seen_at ON sights
    FOR EACH ROW EXECUTE FUNCTION unsettle_seen();

CREATE OR REPLACE FUNCTION apply_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM deleted_users gone
        WHERE gone.client = NEW.client AND gone.digest = user_digest(NEW.client, NEW.user_id)
            AND (gone.changed_ms, gone.changed_number) > (NEW.event_ms, NEW.event_number)
    ) THEN
        RETURN NULL;
    END IF;
    IF NEW.kind IN ('user', 'member-joined', 'read-all') THEN
        INSERT INTO sights AS known (client, user_id, seen_at, changed_ms, changed_number)
        VALUES (NEW.client, NEW.user_id, NEW.at, NEW.event_ms, NEW.event_number)
        ON CONFLICT (client, user_id) DO UPDATE SET seen_at = excluded.seen_at
            WHERE excluded.seen_at < known.seen_at;
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
        DELETE FROM sights WHERE client = NEW.client AND user_id = NEW.user_id
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
