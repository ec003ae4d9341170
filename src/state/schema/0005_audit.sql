-- What each model drew of the fixed prompts: the first time, which is its baseline, and the last time.
CREATE TABLE audit (
    model          TEXT    NOT NULL,
    subject        BIGINT  NOT NULL,
    baseline       TEXT    NOT NULL,
    latest         TEXT    NOT NULL,
    dissimilarity  DOUBLE PRECISION NOT NULL CHECK (dissimilarity >= 0),
    seen_us        BIGINT  NOT NULL,
    PRIMARY KEY (model, subject)
) WITHOUT ROWID;
