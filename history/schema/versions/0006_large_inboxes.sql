-- Inboxes of any size: docs/design/inbox.md, "However large it is".

-- What was published more than ten seconds after it was created. All else is published in about the
-- order of its creation, so that what is new can be looked for at the end of the index by channel.
CREATE INDEX publications_late ON publications (client, channel, published_at)
    WHERE published_at - created_at > interval '10 seconds';

-- Where one channel has nearly everything, the planner would look for another's publications among
-- them, by time. New partitions have it from history/writing/partitions.py.
DO $$
DECLARE
    part regclass;
BEGIN
    FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'publications'::regclass LOOP
        EXECUTE format('ALTER TABLE %s ALTER channel SET (n_distinct = -0.1)', part);
    END LOOP;
END $$;

-- Up to where an inbox was looked through: all that was created by settled_created, and published by
-- settled_published if it is late, is read, but for what inbox_unread has.
CREATE TABLE inboxes (
    client            text COLLATE "C" NOT NULL,
    user_id           text COLLATE "C" NOT NULL,
    settled_created   timestamptz NOT NULL DEFAULT '-infinity',
    settled_published timestamptz NOT NULL DEFAULT '-infinity',
    refused_at        timestamptz NOT NULL DEFAULT '-infinity',  -- too much is unread to be listed
    PRIMARY KEY (client, user_id)
);
CREATE TABLE inbox_unread (
    client       text COLLATE "C" NOT NULL,
    user_id      text COLLATE "C" NOT NULL,
    created_at   timestamptz NOT NULL,
    notification text COLLATE "C" NOT NULL,
    marked_at    timestamptz NOT NULL DEFAULT '-infinity',  -- a receipt of before that does not count
    PRIMARY KEY (client, user_id, created_at, notification)
);

CREATE FUNCTION inbox_channels(a_client text, a_user text)
RETURNS TABLE (channel text, since timestamptz) LANGUAGE sql STABLE AS $$
    SELECT 'user:' || a_user, '-infinity'::timestamptz
    UNION ALL SELECT 'broadcast', '-infinity'::timestamptz
    UNION ALL SELECT 'room:' || room, joined_at FROM room_members
        WHERE client = a_client AND user_id = a_user AND joined_at IS NOT NULL
$$;

-- What is read of inboxes goes by these. They are functions so that it always goes by the index by
-- channel, in its order, and stops where it is told to, whatever statistics there are.

-- The newest publications of each channel before a place, as many as asked for, with what was created
-- at the same time as the last of them.
CREATE FUNCTION scan_channels(
    a_client text, channels text[], starts timestamptz[],
    before_at timestamptz, before_id text, most bigint
) RETURNS TABLE (
    channel text, created_at timestamptz, notification text, published_at timestamptz, status text
) LANGUAGE sql STABLE SET enable_seqscan = off SET enable_sort = off SET enable_bitmapscan = off
AS $$
    SELECT mine.channel, found.*
    FROM unnest(channels, starts) AS mine(channel, since) CROSS JOIN LATERAL (
        SELECT p.created_at, p.notification, p.published_at, p.status FROM publications p
        WHERE p.client = a_client AND p.channel = mine.channel AND p.created_at >= mine.since
            AND p.created_at <= before_at
            AND (p.created_at, p.notification) < (before_at, before_id COLLATE "C")
        ORDER BY p.created_at DESC FETCH FIRST (most) ROWS WITH TIES
    ) found
$$;

-- What was created until then, and published late, after then; of each channel as many as asked for.
CREATE FUNCTION scan_late(
    a_client text, channels text[], starts timestamptz[],
    after_published timestamptz, until_created timestamptz, most bigint
) RETURNS TABLE (created_at timestamptz, notification text, status text)
LANGUAGE sql STABLE SET enable_seqscan = off SET enable_sort = off SET enable_bitmapscan = off
AS $$
    SELECT found.*
    FROM unnest(channels, starts) AS mine(channel, since) CROSS JOIN LATERAL (
        SELECT p.created_at, p.notification, p.status FROM publications p
        WHERE p.client = a_client AND p.channel = mine.channel AND p.created_at >= mine.since
            AND p.published_at - p.created_at > interval '10 seconds'
            AND p.published_at > after_published AND p.created_at <= until_created
        LIMIT most
    ) found
$$;

-- About how many were published before a place: by the offsets of the first and the last of them.
CREATE FUNCTION count_stretch(
    a_client text, channels text[], starts timestamptz[], before_at timestamptz, before_id text
) RETURNS bigint
LANGUAGE sql STABLE SET enable_seqscan = off SET enable_sort = off SET enable_bitmapscan = off
AS $$
    SELECT sum(CASE WHEN newest.place >= oldest.place THEN newest.place - oldest.place + 1
        ELSE newest.place END)::bigint
    FROM unnest(channels, starts) AS mine(channel, since) CROSS JOIN LATERAL (
        SELECT p."offset" AS place FROM publications p
        WHERE p.client = a_client AND p.channel = mine.channel AND p.created_at >= mine.since
            AND p.created_at <= before_at
            AND (p.created_at, p.notification) < (before_at, before_id COLLATE "C")
            AND p.status = 'published'
        ORDER BY p.created_at DESC LIMIT 1
    ) newest CROSS JOIN LATERAL (
        SELECT p."offset" AS place FROM publications p
        WHERE p.client = a_client AND p.channel = mine.channel AND p.created_at >= mine.since
            AND p.created_at <= before_at AND p.status = 'published'
        ORDER BY p.created_at LIMIT 1
    ) oldest
$$;

-- Look an inbox through, from where it was settled on, about 10,000 publications at most. What is
-- unread there goes into inbox_unread; if that would be more than kept_max, nothing changes.
-- Returns whether it came further, and there is more.
CREATE FUNCTION settle_inbox(a_client text, a_user text, kept_max integer)
RETURNS boolean LANGUAGE plpgsql
-- By the indexes, whatever the planner makes of tables that it has no statistics of yet.
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    late     CONSTANT interval := interval '10 seconds';
    before   record;
    through  timestamptz;
    newest   timestamptz;
    cut      timestamptz;
    until_created   timestamptz;
    until_published timestamptz;
    times    timestamptz[];
    ids      text[];
    kept     bigint;
BEGIN
    INSERT INTO inboxes (client, user_id) VALUES (a_client, a_user) ON CONFLICT DO NOTHING;
    SELECT settled_created AS created, settled_published AS published INTO before
        FROM inboxes WHERE client = a_client AND user_id = a_user FOR UPDATE;
    through := coalesce(
        (SELECT read_through FROM users WHERE client = a_client AND id = a_user), '-infinity'
    );
    IF through - late > before.created THEN
        before.created := through - late;
        before.published := through;
    END IF;
    SELECT max(head.published_at) INTO newest
        FROM inbox_channels(a_client, a_user) mine CROSS JOIN LATERAL (
            SELECT p.published_at FROM publications p
            WHERE p.client = a_client AND p.channel = mine.channel
            ORDER BY p.created_at DESC LIMIT 1
        ) head;
    IF newest IS NULL THEN RETURN false; END IF;
    -- The writer keeps the order of publication: of what was published before `newest` nothing is
    -- still to come. Of the same millisecond something may.
    until_created := newest - late - interval '1 millisecond';
    until_published := CASE WHEN newest < clock_timestamp() - interval '5 seconds'
        THEN newest ELSE newest - interval '1 millisecond' END;
    SELECT min(far.created_at) INTO cut
        FROM inbox_channels(a_client, a_user) mine CROSS JOIN LATERAL (
            SELECT p.created_at FROM publications p
            WHERE p.client = a_client AND p.channel = mine.channel
                AND p.created_at > before.created AND p.created_at >= mine.since
            ORDER BY p.created_at OFFSET 10000 / (
                SELECT count(*) FROM inbox_channels(a_client, a_user)
            ) LIMIT 1
        ) far;
    until_created := least(until_created, cut);
    IF until_created <= before.created THEN RETURN false; END IF;

    DELETE FROM inbox_unread k WHERE k.client = a_client AND k.user_id = a_user AND EXISTS (
        SELECT FROM receipts r WHERE r.client = a_client AND r.user_id = a_user AND r.kind = 'read'
            AND r.notification = k.notification
            AND r.at > greatest(k.marked_at, k.created_at - interval '5 minutes')
    );
    SELECT array_agg(found.created_at), array_agg(found.notification) INTO times, ids FROM (
        SELECT looked.created_at, looked.notification
        FROM inbox_channels(a_client, a_user) mine CROSS JOIN LATERAL (
            SELECT p.created_at, p.published_at, p.notification, p.status FROM publications p
            WHERE p.client = a_client AND p.channel = mine.channel
                AND p.created_at >= mine.since AND p.created_at > before.created
                AND p.created_at <= until_created AND p.published_at <= until_published
            UNION ALL
            SELECT p.created_at, p.published_at, p.notification, p.status FROM publications p
            WHERE p.client = a_client AND p.channel = mine.channel
                AND p.created_at >= mine.since AND p.created_at <= before.created
                AND p.published_at - p.created_at > interval '10 seconds'
                AND p.published_at > before.published AND p.published_at <= until_published
            OFFSET 0
        ) looked
        WHERE looked.status = 'published' AND looked.published_at > through AND (
            SELECT min(r.at) FROM receipts r WHERE r.client = a_client AND r.user_id = a_user
                AND r.kind = 'read' AND r.notification = looked.notification
                AND r.at >= looked.created_at - interval '5 minutes'
        ) IS NULL
        LIMIT kept_max + 1
    ) found;
    SELECT count(*) INTO kept FROM (
        SELECT FROM inbox_unread WHERE client = a_client AND user_id = a_user LIMIT kept_max + 1
    ) known;
    IF kept + coalesce(cardinality(ids), 0) > kept_max THEN
        UPDATE inboxes SET refused_at = clock_timestamp()
            WHERE client = a_client AND user_id = a_user;
        RETURN false;
    END IF;
    INSERT INTO inbox_unread (client, user_id, created_at, notification)
        SELECT a_client, a_user, one.created_at, one.notification
        FROM unnest(times, ids) AS one(created_at, notification)
        ON CONFLICT DO NOTHING;
    UPDATE inboxes SET settled_created = until_created,
            settled_published = until_published, refused_at = '-infinity'
        WHERE client = a_client AND user_id = a_user;
    RETURN cut IS NOT NULL;
END
$$;

-- Who reads by the thousand pays for it with the receipts: a round of settling for each 1,000.
CREATE FUNCTION settle_readers() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    reader record;
    round  integer;
BEGIN
    FOR reader IN
        SELECT client, user_id, count(*) AS reads FROM fresh WHERE kind = 'read'
        GROUP BY client, user_id HAVING count(*) >= 1000 ORDER BY client, user_id
    LOOP
        FOR round IN 0 .. reader.reads / 1000 LOOP
            EXIT WHEN NOT settle_inbox(reader.client, reader.user_id, 1000);
        END LOOP;
    END LOOP;
    RETURN NULL;
END
$$;
CREATE TRIGGER settle_readers AFTER INSERT ON receipts REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION settle_readers();

-- Who becomes a member as of a time up to which their inbox was settled is to have it looked through
-- again from there on.
CREATE FUNCTION unsettle_inbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE inboxes SET
            settled_created = least(settled_created, NEW.joined_at - interval '1 microsecond'),
            settled_published = least(settled_published, NEW.joined_at - interval '1 microsecond')
        WHERE client = NEW.client AND user_id = NEW.user_id AND settled_published >= NEW.joined_at;
    RETURN NULL;
END
$$;
CREATE TRIGGER unsettle_inbox AFTER INSERT OR UPDATE OF joined_at ON room_members
    FOR EACH ROW WHEN (NEW.joined_at IS NOT NULL) EXECUTE FUNCTION unsettle_inbox();
