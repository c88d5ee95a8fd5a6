-- Client applications, their API keys and secrets, and what was changed about them by whom.
-- The servers copy each client into Redis, from where all processes have it.

CREATE SEQUENCE client_versions;

CREATE TABLE clients (
    id         text COLLATE "C" PRIMARY KEY,
    name       text NOT NULL,
    email      text NOT NULL,
    operator   boolean NOT NULL DEFAULT false,
    disabled   boolean NOT NULL DEFAULT false,
    jwks       jsonb NOT NULL DEFAULT '[]',   -- public keys of its tokens
    limits     jsonb NOT NULL DEFAULT '{}',   -- what differs from the settings
    created_at timestamptz NOT NULL DEFAULT now(),
    version    bigint NOT NULL DEFAULT nextval('client_versions')
);
CREATE INDEX clients_by_version ON clients (version);

CREATE TABLE api_keys (
    id         text COLLATE "C" PRIMARY KEY,
    client     text COLLATE "C" NOT NULL REFERENCES clients,
    name       text NOT NULL,
    digest     bytea NOT NULL,                -- SHA-256 of the key; the key itself is kept nowhere
    scopes     text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX api_keys_by_client ON api_keys (client, created_at);

CREATE TABLE token_secrets (
    client     text COLLATE "C" NOT NULL REFERENCES clients,
    secret     text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    PRIMARY KEY (client, secret)
);

CREATE TABLE audit (
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    client     text COLLATE "C" NOT NULL,     -- whose key did it; '' for the command line
    key        text COLLATE "C" NOT NULL,
    action     text COLLATE "C" NOT NULL,
    subject    text COLLATE "C" NOT NULL,     -- the client that it was done to
    details    jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_by_subject ON audit (subject, number);
