-- Policies on trial that were stopped for going badly, by digest: they stay stopped on every gateway.
CREATE TABLE trial_stop (
    policy      TEXT    PRIMARY KEY NOT NULL,
    why         TEXT    NOT NULL,
    stopped_us  BIGINT  NOT NULL
) WITHOUT ROWID;
