-- Workers that run in jobs of Slurm, and jobs that were submitted to it.

-- `SLURM_JOB_ID`, of which each task of an array has its own; NULL where the worker runs in no job of Slurm.
ALTER TABLE workers ADD COLUMN slurm_job INTEGER;
ALTER TABLE workers ADD COLUMN slurm_cluster TEXT;
-- The array and the task's place in it.
ALTER TABLE workers ADD COLUMN slurm_array_job INTEGER;
ALTER TABLE workers ADD COLUMN slurm_array_task INTEGER;
-- How often Slurm had started the job again.
ALTER TABLE workers ADD COLUMN slurm_restarts INTEGER NOT NULL DEFAULT 0;

CREATE INDEX workers_by_slurm_job ON workers (slurm_job) WHERE slurm_job IS NOT NULL;

CREATE TABLE slurm_jobs (
    id           INTEGER PRIMARY KEY,
    -- '' where nobody said which.
    cluster      TEXT    NOT NULL,
    -- What sbatch printed.
    job          INTEGER NOT NULL,
    role         TEXT    NOT NULL CHECK (role IN ('workers', 'coordinator')),
    sweep_id     INTEGER REFERENCES sweeps (id),
    tasks        INTEGER NOT NULL CHECK (tasks >= 1),
    submitted_at INTEGER NOT NULL,
    UNIQUE (cluster, job),
    CHECK ((role = 'workers') = (sweep_id IS NOT NULL))
) STRICT;
