-- A job table for stage trees and for a million trials. No row holds what another one says: a job is run with the
-- parameters and the seed of one of the trials that need it, and what all trials of a kind have in common is a context.

-- What trials of a kind have in common (coordinator's `Context` as JSON).
CREATE TABLE contexts (
    id   INTEGER PRIMARY KEY,
    work TEXT    NOT NULL UNIQUE
) STRICT;

-- Sweeps are leased from in this order.
ALTER TABLE sweeps ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sweeps ADD COLUMN is_paused INTEGER NOT NULL DEFAULT 0 CHECK (is_paused IN (0, 1));
CREATE INDEX sweeps_waiting ON sweeps (priority DESC, id) WHERE is_paused = 0 AND trials_queued > 0;

CREATE TABLE new_jobs (
    -- Jobs of one sweep are leased in the order of their ids.
    id              INTEGER PRIMARY KEY,
    -- Names the state after last_epoch, however the epochs before it are cut into jobs (vocabulary::StateHash).
    hash            BLOB    NOT NULL CHECK (length(hash) = 16),
    -- 0 where a later job makes the same state again, since this one's checkpoint is gone.
    is_current      INTEGER NOT NULL DEFAULT 1 CHECK (is_current IN (0, 1)),
    -- The job whose final state this one continues.
    parent_id       INTEGER REFERENCES jobs (id),
    -- The trial with whose parameters and seed the job is run; the sweep is the one in whose queue it waits.
    sweep_id        INTEGER NOT NULL REFERENCES sweeps (id),
    trial           INTEGER NOT NULL CHECK (trial >= 1),
    context_id      INTEGER NOT NULL REFERENCES contexts (id),
    first_epoch     INTEGER NOT NULL CHECK (first_epoch >= 1),
    last_epoch      INTEGER NOT NULL CHECK (last_epoch >= first_epoch),
    cpus            INTEGER NOT NULL CHECK (cpus >= 1),
    retries         INTEGER NOT NULL CHECK (retries >= 0),
    state           TEXT    NOT NULL
                    CHECK (state IN ('blocked', 'queued', 'leased', 'succeeded', 'failed', 'cancelled')),
    -- Parent and requirements that have not succeeded yet.
    open_needs      INTEGER NOT NULL DEFAULT 0 CHECK (open_needs >= 0),
    -- Jobs that are blocked, queued or leased and have this one as parent or requirement: while there is one, and where
    -- is_kept says so, the checkpoint of a job that succeeded stays.
    live_dependents INTEGER NOT NULL DEFAULT 0 CHECK (live_dependents >= 0),
    is_kept         INTEGER NOT NULL DEFAULT 0 CHECK (is_kept IN (0, 1)),
    -- Number of the newest attempt, 0 before the first; the fencing token while leased.
    attempt         INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    -- How the newest ended attempt ended (lease::Outcome).
    last_outcome    TEXT,
    worker_id       INTEGER REFERENCES workers (id),
    lease_deadline  INTEGER,
    -- When a queued job that failed is tried again; NULL where it may be leased now.
    waits_until     INTEGER,
    failure_reason  TEXT,
    -- Failures by kind (lease::Failures as JSON).
    failures        TEXT    NOT NULL DEFAULT '{}',
    -- The last epoch reported, for progress.
    reported_epoch  INTEGER NOT NULL DEFAULT 0,
    CHECK ((state = 'leased') = (worker_id IS NOT NULL)),
    CHECK ((state = 'leased') = (lease_deadline IS NOT NULL)),
    CHECK (waits_until IS NULL OR state = 'queued'),
    CHECK ((state = 'failed') = (failure_reason IS NOT NULL)),
    CHECK (state <> 'leased' OR attempt >= 1),
    CHECK (state NOT IN ('queued', 'leased', 'succeeded') OR open_needs = 0),
    CHECK (state <> 'blocked' OR open_needs > 0)
) STRICT;

-- Every job so far is a whole trial, or would be repeated whole. One that was asked for with a rendered command keeps it.
INSERT INTO contexts (work)
SELECT DISTINCT
    CASE work ->> 'trainer'
        WHEN 'command' THEN json_object('trainer', 'command', 'command', work -> 'command',
                                        'working_directory', work ->> 'working_directory', 'form', 'rendered')
        ELSE json_object('trainer', 'resnet', 'dataset_checksum', work ->> 'dataset_checksum')
    END
FROM jobs;

-- The trial that asked first is the one whose parameters and number stood in a job's `work`.
INSERT INTO new_jobs (id, hash, parent_id, sweep_id, trial, context_id, first_epoch, last_epoch, cpus, retries, state,
                      open_needs, live_dependents, is_kept, attempt, last_outcome, worker_id, lease_deadline,
                      waits_until, failure_reason, failures, reported_epoch)
SELECT id, unhex(substr(hash, 1, 32)), parent_id,
    (SELECT sweep_id FROM trials WHERE job_id = jobs.id ORDER BY sweep_id, number LIMIT 1),
    (SELECT number FROM trials WHERE job_id = jobs.id ORDER BY sweep_id, number LIMIT 1),
    (SELECT contexts.id FROM contexts WHERE contexts.work =
        CASE jobs.work ->> 'trainer'
            WHEN 'command' THEN json_object('trainer', 'command', 'command', jobs.work -> 'command',
                                            'working_directory', jobs.work ->> 'working_directory', 'form', 'rendered')
            ELSE json_object('trainer', 'resnet', 'dataset_checksum', jobs.work ->> 'dataset_checksum')
        END),
    first_epoch, last_epoch, cpus, retries, state, open_needs,
    (SELECT COUNT(*) FROM
        (SELECT child.id FROM jobs AS child
         WHERE child.parent_id = jobs.id AND child.state IN ('blocked', 'queued', 'leased')
         UNION
         SELECT reader.id FROM job_requirements JOIN jobs AS reader ON reader.id = job_requirements.job_id
         WHERE job_requirements.required_id = jobs.id AND reader.state IN ('blocked', 'queued', 'leased'))),
    1, attempt, last_outcome, worker_id, lease_deadline, CASE WHEN attempt > 0 THEN not_before END, failure_reason,
    failures, reported_epoch
FROM jobs;

-- Unfinished jobs of other sweeps that a sweep needs too; a row goes when its job has ended. `is_ready` says that it may
-- be leased now.
CREATE TABLE joins (
    sweep_id INTEGER NOT NULL REFERENCES sweeps (id),
    job_id   INTEGER NOT NULL REFERENCES jobs (id),
    is_ready INTEGER NOT NULL CHECK (is_ready IN (0, 1)),
    PRIMARY KEY (sweep_id, job_id)
) STRICT, WITHOUT ROWID;

INSERT INTO joins (sweep_id, job_id, is_ready)
SELECT sweep_jobs.sweep_id, new_jobs.id, new_jobs.state = 'queued' AND new_jobs.waits_until IS NULL
FROM sweep_jobs
JOIN new_jobs ON new_jobs.id = sweep_jobs.job_id
WHERE new_jobs.sweep_id <> sweep_jobs.sweep_id AND new_jobs.state IN ('blocked', 'queued', 'leased');

CREATE INDEX joins_by_job ON joins (job_id);
CREATE INDEX joins_ready ON joins (sweep_id, job_id) WHERE is_ready = 1;

-- States after a job's epochs before its last one: where a later sweep may fork.
CREATE TABLE inner_states (
    hash   BLOB    NOT NULL CHECK (length(hash) = 16),
    job_id INTEGER NOT NULL REFERENCES jobs (id),
    epoch  INTEGER NOT NULL CHECK (epoch >= 1),
    PRIMARY KEY (hash, job_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX inner_states_by_job ON inner_states (job_id, epoch);

-- This runs with foreign keys off: the names in the other tables find the new one.
DROP TABLE sweep_jobs;
DROP TABLE jobs;
ALTER TABLE new_jobs RENAME TO jobs;

CREATE UNIQUE INDEX jobs_by_hash ON jobs (hash) WHERE is_current = 1;
CREATE INDEX jobs_children ON jobs (parent_id) WHERE parent_id IS NOT NULL;
-- The order in which jobs are leased.
CREATE INDEX jobs_ready ON jobs (sweep_id, id) WHERE state = 'queued' AND waits_until IS NULL;
CREATE INDEX jobs_ready_children ON jobs (parent_id, id)
    WHERE state = 'queued' AND waits_until IS NULL AND parent_id IS NOT NULL;
CREATE INDEX jobs_waiting ON jobs (waits_until) WHERE waits_until IS NOT NULL;
-- The order in which leases run out, and who holds them.
CREATE INDEX jobs_leases ON jobs (lease_deadline) WHERE state = 'leased';
CREATE INDEX jobs_held ON jobs (worker_id) WHERE worker_id IS NOT NULL;
