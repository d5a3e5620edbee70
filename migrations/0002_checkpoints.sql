-- Checkpoints within a job: an attempt goes on where the one before had come to.

-- Epochs that the attempt did not run itself, since it was leased together with a checkpoint taken after them. Reports of
-- earlier attempts count up to here.
ALTER TABLE attempts ADD COLUMN resumed_epoch INTEGER NOT NULL DEFAULT 0 CHECK (resumed_epoch >= 0);

-- For a checkpoint: steps that it has behind it of the epoch after `epoch`.
ALTER TABLE artifacts ADD COLUMN step INTEGER NOT NULL DEFAULT 0 CHECK (step >= 0);
-- For a checkpoint: under which attempt it was reported.
ALTER TABLE artifacts ADD COLUMN attempt INTEGER;

-- A job keeps its newest checkpoint only.
CREATE UNIQUE INDEX artifacts_checkpoint ON artifacts (job_id) WHERE kind = 'checkpoint';
