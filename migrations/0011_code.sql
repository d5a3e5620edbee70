-- What the programs of a sweep are run from (protocol's `Code` as JSON): checksums, and the archive that is kept among the
-- artifacts as long as there is the sweep. NULL for the built-in trainer, and for what was submitted before this.
ALTER TABLE sweeps ADD COLUMN code TEXT CHECK (json_valid(code));
