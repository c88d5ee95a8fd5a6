"""Lists of Kafka positions of publications: the SQL beside this."""

from pathlib import Path
from typing import Any

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_APART = """
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

DO $$
DECLARE
    day date;
BEGIN
    FOR day IN SELECT DISTINCT (at AT TIME ZONE 'UTC')::date FROM mirror_batches LOOP
        EXECUTE format(
            'CREATE TABLE %I PARTITION OF mirrors FOR VALUES FROM (%L) TO (%L)',
            'mirrors_' || to_char(day, 'YYYYMMDD'), day || ' 00:00+00', day + 1 || ' 00:00+00'
        );
    END LOOP;
END $$;

INSERT INTO mirrors
SELECT split_part(e ->> 0, '/', 1), substr(e ->> 0, strpos(e ->> 0, '/') + 1), e ->> 1,
    (e ->> 2)::bigint, m.topic, (e ->> 3)::integer, (e ->> 4)::bigint, m.at
FROM mirror_batches m, json_array_elements(m.entries::json) e
WHERE strpos(e ->> 0, '/') > 1
ON CONFLICT DO NOTHING;

DROP TABLE mirror_batches;
"""


def upgrade() -> None:
    """Put the rows of `mirrors` together."""
    _execute(Path(__file__).with_suffix(".sql").read_text("utf-8"))


def downgrade() -> None:
    """Give each publication a row again."""
    _execute(_APART)


def _execute(statements: str) -> None:
    # Many statements at once are only taken by asyncpg itself.
    connection: Any = op.get_bind().connection.dbapi_connection
    connection.run_async(lambda driver: driver.execute(statements))
