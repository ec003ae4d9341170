-- The first call of a generation that runs: a file writes it with the opening, in one row, and its attempt only with the
-- generation's end. Its model is the generation's. Both are NULL where the attempt has a row.
ALTER TABLE generation ADD COLUMN first_provider TEXT;
ALTER TABLE generation ADD COLUMN first_held BIGINT;
