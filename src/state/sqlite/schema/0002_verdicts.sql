CREATE TABLE verdict (
  generation TEXT NOT NULL,
  image      BIGINT NOT NULL,
  rater      TEXT NOT NULL,
  accepted   BIGINT NOT NULL,
  reason     TEXT,
  given_us   BIGINT NOT NULL,
  PRIMARY KEY (generation, image, rater)
) WITHOUT ROWID;
