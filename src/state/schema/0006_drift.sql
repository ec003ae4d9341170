-- Of each model's fixed prompts also the distance of the two pictures' hashes, in bits of 64; where they differ, as a
-- stored WebP picture; and when the baseline was drawn. Rows from before this have none of it until their next audit.
ALTER TABLE audit ADD COLUMN hash_bits BIGINT NOT NULL DEFAULT 0;
ALTER TABLE audit ADD COLUMN heat TEXT;
ALTER TABLE audit ADD COLUMN since_us BIGINT;
