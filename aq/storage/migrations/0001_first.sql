-- Small words are small integers: environment 0 live, 1 test; status 0 pending, 1 active, 2 completed, 3 failed.
-- seq is the 63-bit sequence inside an id: creation order is row order. Instants are microseconds since 1970.

CREATE TABLE meta (
  one           INTEGER PRIMARY KEY CHECK (one = 1),
  now           INTEGER NOT NULL,  -- the highest instant ever committed
  sequence      INTEGER NOT NULL,  -- the highest sequence ever inserted
  commit_number INTEGER NOT NULL   -- tells whether a commit in doubt happened
) STRICT;
INSERT INTO meta VALUES (1, 0, 0, 0);

CREATE TABLE queues (
  id          INTEGER PRIMARY KEY,
  environment INTEGER NOT NULL,
  name        TEXT    NOT NULL,
  policy      TEXT    NOT NULL,    -- JSON
  version     INTEGER NOT NULL,
  created_at  INTEGER NOT NULL,
  pending     INTEGER NOT NULL,
  active      INTEGER NOT NULL,
  completed   INTEGER NOT NULL,
  failed      INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX queues_by_name ON queues (environment, name);

CREATE TABLE tasks (
  seq            INTEGER PRIMARY KEY,
  id             TEXT    NOT NULL,
  environment    INTEGER NOT NULL,
  queue_id       INTEGER NOT NULL,
  status         INTEGER NOT NULL,
  version        INTEGER NOT NULL,
  priority       INTEGER NOT NULL,
  due_at         INTEGER NOT NULL,
  destination    TEXT    NOT NULL, -- the lane: scheme://host[:port] of webhook_url,
  ordering_key   TEXT,             -- and the key whose tasks run one at a time
  webhook_url    TEXT    NOT NULL,
  delay          INTEGER NOT NULL, -- seconds
  created_at     INTEGER NOT NULL,
  max_retries    INTEGER,
  timeout        INTEGER,          -- seconds
  traceparent    TEXT,
  attempt        INTEGER NOT NULL,
  failures       INTEGER NOT NULL,
  unknowns       INTEGER NOT NULL,
  started_at     INTEGER,
  finished_at    INTEGER,
  failure_reason TEXT
) STRICT;

-- Lists. A list of any status merges the four walks of its index.
CREATE INDEX tasks_by_queue ON tasks (queue_id, status, seq);
CREATE INDEX tasks_by_environment ON tasks (environment, status, seq);
-- What may be scheduled: waiting tasks only, and none of the sandbox.
CREATE INDEX tasks_due ON tasks (queue_id, priority, due_at, seq) WHERE status = 0 AND environment = 0;
CREATE INDEX tasks_upcoming ON tasks (queue_id, due_at, seq) WHERE status = 0 AND environment = 0;

-- Apart from its task, so that a change of state does not rewrite it.
CREATE TABLE payloads (
  seq  INTEGER PRIMARY KEY,
  body BLOB NOT NULL
) STRICT;

CREATE TABLE attempts (
  seq           INTEGER NOT NULL,
  number        INTEGER NOT NULL,
  status        TEXT    NOT NULL,
  executed_at   INTEGER NOT NULL,
  duration_us   INTEGER NOT NULL,
  lateness_us   INTEGER NOT NULL,
  response_code INTEGER,
  error_type    TEXT,
  error         TEXT,
  response_body BLOB,
  timing        TEXT,              -- JSON: [dns, connect, tls, ttfb, total] in milliseconds
  PRIMARY KEY (seq, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE settings (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
  id                    TEXT PRIMARY KEY,
  name                  TEXT    NOT NULL,
  environment           INTEGER NOT NULL,
  hash                  TEXT    NOT NULL UNIQUE,
  scopes                TEXT    NOT NULL, -- JSON
  queues                TEXT,             -- JSON, NULL is "all"
  rate_limit_per_minute INTEGER,
  created_at            INTEGER NOT NULL,
  last_used_at          INTEGER,
  revoked_at            INTEGER
) STRICT, WITHOUT ROWID;
