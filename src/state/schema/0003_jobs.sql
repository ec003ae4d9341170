-- Jobs: work that outlives its caller's connection, in the order in which it is taken up.

CREATE TABLE job (
  id         TEXT PRIMARY KEY NOT NULL,
  key        TEXT NOT NULL,
  state      TEXT NOT NULL CHECK (state IN ('cancelled', 'failed', 'queued', 'running', 'succeeded')),
  priority   BIGINT NOT NULL,
  created_us BIGINT NOT NULL,
  started_us BIGINT,
  ended_us   BIGINT,
  -- Who runs it, and until when that holds without a beat.
  owner      TEXT,
  until_us   BIGINT,
  runs       BIGINT NOT NULL CHECK (runs >= 0),
  -- An idempotency key in its scope, and the ask that it came with.
  claim      TEXT,
  print      TEXT NOT NULL,
  -- What is asked, as JSON; emptied at the end unless prompts are kept.
  request    TEXT NOT NULL,
  webhook    TEXT,
  -- What came of it, as JSON without the pictures.
  answer     TEXT,
  CHECK ((ended_us IS NULL) = (state IN ('queued', 'running')))
) WITHOUT ROWID;

CREATE UNIQUE INDEX job_claim ON job (claim) WHERE claim IS NOT NULL;
CREATE INDEX job_queue ON job (priority, created_us) WHERE state = 'queued';
CREATE INDEX job_running ON job (key) WHERE state = 'running';
CREATE INDEX job_turn ON job (key, started_us) WHERE started_us IS NOT NULL;

-- What a call leaves behind that makes it resumable: the provider's handle, or its pictures.
CREATE TABLE trace (
  generation TEXT NOT NULL,
  seq        BIGINT NOT NULL CHECK (seq >= 0),
  left_us    BIGINT NOT NULL,
  what       TEXT NOT NULL,
  PRIMARY KEY (generation, seq)
) WITHOUT ROWID;

-- Messages to callers, until they are delivered or given up.
CREATE TABLE webhook (
  id         TEXT PRIMARY KEY NOT NULL,
  job        TEXT NOT NULL,
  url        TEXT NOT NULL,
  body       TEXT NOT NULL,
  created_us BIGINT NOT NULL,
  next_us    BIGINT NOT NULL,
  tries      BIGINT NOT NULL CHECK (tries >= 0),
  state      TEXT NOT NULL CHECK (state IN ('delivered', 'given_up', 'waiting'))
) WITHOUT ROWID;

CREATE INDEX webhook_due ON webhook (next_us) WHERE state = 'waiting';
