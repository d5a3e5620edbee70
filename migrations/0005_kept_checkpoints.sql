-- Checkpoints that stay beside the last one of a trial: the best by the sweep's metric, or all.

-- NULL: no more than the last one, or not even that.
ALTER TABLE sweeps ADD COLUMN keeps_more TEXT CHECK (keeps_more IN ('best', 'all'));

-- Jobs that trials of such a sweep go through; those that had succeeded before have nothing more to keep.
CREATE TABLE keeps (
    job_id   INTEGER NOT NULL REFERENCES jobs (id),
    sweep_id INTEGER NOT NULL REFERENCES sweeps (id),
    PRIMARY KEY (job_id, sweep_id)
) STRICT, WITHOUT ROWID;

-- The states after epochs of these jobs; a job's newest checkpoint stands in `artifacts` as well.
CREATE TABLE kept_checkpoints (
    job_id     INTEGER NOT NULL REFERENCES jobs (id),
    epoch      INTEGER NOT NULL CHECK (epoch >= 1),
    hash       TEXT    NOT NULL,
    size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
    created_at INTEGER NOT NULL,
    PRIMARY KEY (job_id, epoch)
) STRICT, WITHOUT ROWID;

CREATE INDEX kept_checkpoints_by_hash ON kept_checkpoints (hash);
