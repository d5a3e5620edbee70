-- What one attempt of a sweep's jobs may use (coordinator's `Resources` as JSON). A row a sweep, not a job: it is the same for all
-- of them, and a later submission of the same sweep may change it.
ALTER TABLE sweeps ADD COLUMN resources TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(resources));
