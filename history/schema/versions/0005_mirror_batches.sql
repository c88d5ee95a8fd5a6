-- Where publications are in Kafka: a row for each list that the bridge wrote of, instead of one for
-- each publication, which was half of all that history wrote. Whoever asks for a publication looks
-- through the lists of the time at which it was published.
CREATE TABLE mirror_batches (
    event    text COLLATE "C" NOT NULL,  -- id in the event stream
    topic    text COLLATE "C" NOT NULL,
    first_ms bigint NOT NULL,            -- when the first and the last one were published, Unix
    last_ms  bigint NOT NULL,
    entries  text COLLATE "C" NOT NULL,  -- as history/queries/kafka_positions.py has it
    at       timestamptz NOT NULL,
    PRIMARY KEY (event, at)
) PARTITION BY RANGE (at);
CREATE INDEX mirror_batches_by_time ON mirror_batches
    USING gist (int8range(first_ms, last_ms, '[]'));

DO $$
DECLARE
    day date;
BEGIN
    FOR day IN SELECT DISTINCT (at AT TIME ZONE 'UTC')::date FROM mirrors LOOP
        EXECUTE format(
            'CREATE TABLE %I PARTITION OF mirror_batches FOR VALUES FROM (%L) TO (%L)',
            'mirror_batches_' || to_char(day, 'YYYYMMDD'),
            day || ' 00:00+00', day + 1 || ' 00:00+00'
        );
    END LOOP;
END $$;

INSERT INTO mirror_batches
SELECT 'before-0005-' || row_number() OVER (), m.topic,
    (extract(epoch FROM min(p.published_at)) * 1000)::bigint,
    (extract(epoch FROM max(p.published_at)) * 1000)::bigint,
    json_agg(json_build_array(
        m.client || '/' || m.channel, m.epoch, m."offset", m.partition, m.kafka_offset
    ))::text,
    m.at
FROM mirrors m JOIN publications p USING (client, channel, epoch, "offset")
GROUP BY m.topic, m.at;

DROP TABLE mirrors;
