-- What people said of images, and how each was decided. A later verdict of a rater on an image replaces the earlier.

ALTER TABLE generation ADD COLUMN decision TEXT;

CREATE TABLE verdict (
  generation TEXT NOT NULL,
  image      BIGINT NOT NULL CHECK (image >= 0),
  rater      TEXT NOT NULL,
  accepted   BIGINT NOT NULL CHECK (accepted IN (0, 1)),
  reason     TEXT,
  given_us   BIGINT NOT NULL,
  PRIMARY KEY (generation, image, rater)
) WITHOUT ROWID;

-- Every replica asks for what is new.
CREATE INDEX verdict_given ON verdict (given_us);
