-- The ledger. Money is whole micro-dollars, times are microseconds (instants since 1970 UTC), and the column types are
-- words that PostgreSQL reads alike.

CREATE TABLE generation (
  id              TEXT PRIMARY KEY NOT NULL,
  created_us      BIGINT NOT NULL,
  ended_us        BIGINT,
  key             TEXT NOT NULL,
  task            TEXT NOT NULL,
  model           TEXT NOT NULL,
  plan            TEXT NOT NULL,
  rule            TEXT,
  policy          TEXT NOT NULL,
  prompt_sha256   TEXT NOT NULL,
  prompt          TEXT,
  metadata        TEXT NOT NULL DEFAULT '{}',
  expected_cost   BIGINT NOT NULL CHECK (expected_cost >= 0),
  expected_accept DOUBLE PRECISION NOT NULL,
  reserved        BIGINT NOT NULL CHECK (reserved >= 0),
  outcome         TEXT,
  made_by         TEXT,
  latency_us      BIGINT NOT NULL DEFAULT 0 CHECK (latency_us >= 0),
  image_count     BIGINT NOT NULL DEFAULT 0 CHECK (image_count >= 0),
  images          TEXT NOT NULL DEFAULT '[]',
  claim           TEXT,
  fingerprint     TEXT,
  answer          TEXT,
  CHECK ((ended_us IS NULL) = (outcome IS NULL)),
  CHECK ((ended_us IS NULL) = (made_by IS NULL))
);

-- `spend` and recovery read everything since an instant.
CREATE INDEX generation_created ON generation (created_us);

-- Everything created more than a day before this is closed: recovery looks no further back, and needs no index that
-- every request would change twice.
CREATE TABLE swept (created_us BIGINT NOT NULL);
INSERT INTO swept VALUES (0);

-- One idempotency key, one purchase.
CREATE UNIQUE INDEX generation_claim ON generation (claim) WHERE claim IS NOT NULL;

CREATE TABLE attempt (
  generation TEXT NOT NULL REFERENCES generation (id),
  seq        BIGINT NOT NULL CHECK (seq >= 0),
  provider   TEXT NOT NULL,
  model      TEXT NOT NULL,
  held       BIGINT NOT NULL CHECK (held >= 0),
  charged    BIGINT NOT NULL CHECK (charged >= 0),
  state      TEXT NOT NULL CHECK (state = 'settled' OR state = 'held' OR state = 'released' OR state = 'ambiguous'),
  billed     TEXT NOT NULL CHECK (billed = 'yes' OR billed = 'unknown' OR billed = 'no'),
  basis      TEXT NOT NULL CHECK (basis = 'price_table' OR basis = 'provider_usage'),
  outcome    TEXT NOT NULL,
  detail     TEXT NOT NULL,
  latency_us BIGINT NOT NULL CHECK (latency_us >= 0),
  PRIMARY KEY (generation, seq),
  CHECK (state = 'settled' OR charged = 0)
) WITHOUT ROWID;

-- Money in doubt is rare, so its index is small and costs the common path nothing.
CREATE INDEX attempt_doubt ON attempt (provider) WHERE state = 'ambiguous';
