-- Budgets: running totals, so that an admission reads one row, and what each open generation has set aside in them.
-- Both are derived from `generation` and `attempt`: a total that is stale is counted again before it is used.

-- An account is what a budget counts (its scope in words) in one period, which begins at `since_us`.
CREATE TABLE budget_total (
  account   TEXT NOT NULL,
  since_us  BIGINT NOT NULL,
  settled   BIGINT NOT NULL,
  reserved  BIGINT NOT NULL,
  ambiguous BIGINT NOT NULL,
  stale     BIGINT NOT NULL CHECK (stale IN (0, 1)),
  PRIMARY KEY (account, since_us)
) WITHOUT ROWID;

CREATE TABLE budget_hold (
  generation TEXT NOT NULL,
  account    TEXT NOT NULL,
  since_us   BIGINT NOT NULL,
  amount     BIGINT NOT NULL CHECK (amount >= 0),
  PRIMARY KEY (generation, account)
) WITHOUT ROWID;

CREATE INDEX budget_hold_account ON budget_hold (account, since_us);

-- Who writes a shared ledger: a process, and when it was last alive by the ledger's own clock. A file has one writer and
-- no row here.
CREATE TABLE replica (
  id      BIGINT PRIMARY KEY NOT NULL,
  beat_us BIGINT NOT NULL
);

ALTER TABLE generation ADD COLUMN replica BIGINT;

-- What a dead replica left running. In a file `replica` is NULL, and the index is never touched.
CREATE INDEX generation_running ON generation (replica) WHERE replica IS NOT NULL AND ended_us IS NULL;
