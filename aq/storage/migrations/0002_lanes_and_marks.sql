-- environment 2 is "callback": scheduled like 0, live. 1, test, never is.

ALTER TABLE tasks ADD COLUMN options     TEXT;    -- JSON of what is not the default; NULL for none of it
ALTER TABLE tasks ADD COLUMN error_type  TEXT;    -- of the latest attempt that ended
ALTER TABLE tasks ADD COLUMN expires_at  INTEGER;
ALTER TABLE tasks ADD COLUMN callback_id TEXT;
ALTER TABLE tasks ADD COLUMN held        INTEGER NOT NULL DEFAULT 0; -- 1: its ordering key holds it back
ALTER TABLE tasks ADD COLUMN lane        TEXT;    -- the destination, or NULL where it is not told apart
UPDATE tasks SET lane = destination WHERE status = 0;
UPDATE tasks
  SET error_type = (SELECT error_type FROM attempts WHERE seq = tasks.seq ORDER BY number DESC LIMIT 1)
  WHERE attempt > 0;

ALTER TABLE queues ADD COLUMN clearing TEXT;      -- JSON, a purge that is under way
ALTER TABLE queues ADD COLUMN revival  TEXT;      -- JSON, a retry in bulk that is under way

-- What may be scheduled, in running order: of all, and of each lane. What comes next by due time is merged from
-- the priorities.
DROP INDEX tasks_due;
DROP INDEX tasks_upcoming;
CREATE INDEX tasks_due ON tasks (queue_id, priority, due_at, seq)
  WHERE status = 0 AND environment <> 1 AND held = 0;
CREATE INDEX tasks_by_lane ON tasks (queue_id, priority, lane, due_at, seq)
  WHERE status = 0 AND environment <> 1 AND held = 0;
-- Pending and active tasks of an ordering key; its head comes first.
CREATE INDEX tasks_in_line ON tasks (queue_id, ordering_key, status DESC, seq)
  WHERE ordering_key IS NOT NULL AND status < 2;
CREATE INDEX tasks_expiring ON tasks (queue_id, expires_at, seq) WHERE status = 0 AND expires_at IS NOT NULL;
CREATE INDEX tasks_finished ON tasks (queue_id, status, finished_at, seq) WHERE finished_at IS NOT NULL;

-- How many pending tasks are due in each minute; none with 0.
CREATE TABLE due_minutes (
  queue_id INTEGER NOT NULL,
  minute   INTEGER NOT NULL,       -- due_at / 60,000,000, rounded down
  pending  INTEGER NOT NULL,
  PRIMARY KEY (queue_id, minute)
) STRICT, WITHOUT ROWID;
INSERT INTO due_minutes
  SELECT queue_id, (due_at - (due_at % 60000000 + 60000000) % 60000000) / 60000000, count(*)
  FROM tasks WHERE status = 0 GROUP BY 1, 2;

CREATE TABLE claims (
  seq         INTEGER PRIMARY KEY,
  environment INTEGER NOT NULL,
  name        TEXT    NOT NULL,
  fingerprint BLOB    NOT NULL,
  answer      BLOB    NOT NULL,
  expires_at  INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX claims_by_name ON claims (environment, name);
CREATE INDEX claims_by_expiry ON claims (expires_at);

CREATE TABLE schedules (
  id          TEXT PRIMARY KEY,
  environment INTEGER NOT NULL,
  version     INTEGER NOT NULL,
  body        TEXT    NOT NULL     -- JSON
) STRICT;

-- Nothing has written keys so far. That no two share a hash is for those who make them to see to.
DROP TABLE api_keys;
CREATE TABLE api_keys (
  id                    TEXT PRIMARY KEY,
  name                  TEXT    NOT NULL,
  environment           INTEGER NOT NULL,
  hash                  TEXT    NOT NULL,
  scopes                TEXT    NOT NULL, -- JSON
  queues                TEXT,             -- JSON, NULL is "all"
  rate_limit_per_minute INTEGER,
  created_at            INTEGER NOT NULL,
  revoked_at            INTEGER
) STRICT, WITHOUT ROWID;
