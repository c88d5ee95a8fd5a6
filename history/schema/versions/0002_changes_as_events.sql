-- Users, memberships and what was read through come as events as well. An event may come late, or
-- twice; the one that is last in the event stream wins.

-- Who left stays, with no joined_at, so that a join of before that comes late joins nobody again.
ALTER TABLE room_members
    ALTER joined_at DROP NOT NULL,
    ALTER joined_at DROP DEFAULT,
    ADD changed_ms     bigint NOT NULL DEFAULT 0,  -- id in the event stream of the last change
    ADD changed_number bigint NOT NULL DEFAULT 0;

-- What is inserted here is applied to the tables above, and not kept. The server and the history
-- writer both change them this way, and only this way.
CREATE TABLE changes (
    client       text COLLATE "C" NOT NULL,
    kind         text COLLATE "C" NOT NULL,  -- of the event
    user_id      text COLLATE "C" NOT NULL,
    room         text COLLATE "C" NOT NULL,  -- '' where there is none
    at           timestamptz NOT NULL,
    event_ms     bigint NOT NULL,            -- id in the event stream
    event_number bigint NOT NULL
);
CREATE FUNCTION apply_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
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
CREATE TRIGGER apply_change BEFORE INSERT ON changes
    FOR EACH ROW EXECUTE FUNCTION apply_change();
