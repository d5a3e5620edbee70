-- The job table. Times are milliseconds since the Unix epoch, UTC, always bound as parameters: SQL has no clock.
-- Append-only: a later change is a new file.

CREATE TABLE sweeps (
    id                INTEGER PRIMARY KEY,
    name              TEXT    NOT NULL,
    -- The spec as it was read, and the overrides as they were typed (JSON array).
    spec              TEXT    NOT NULL,
    overrides         TEXT    NOT NULL,
    working_directory TEXT    NOT NULL,
    -- Names the expansion: two submissions with the same one are the same sweep.
    expansion_hash    TEXT    NOT NULL UNIQUE,
    metric_name       TEXT,
    metric_goal       TEXT CHECK (metric_goal IN ('maximize', 'minimize')),
    -- Names of the swept parameters in the spec's order (JSON array).
    swept             TEXT    NOT NULL,
    created_at        INTEGER NOT NULL,
    -- Trials by state, kept up to date by the transaction that moves a trial's last job; never counted.
    trials_queued     INTEGER NOT NULL DEFAULT 0 CHECK (trials_queued >= 0),
    trials_running    INTEGER NOT NULL DEFAULT 0 CHECK (trials_running >= 0),
    trials_succeeded  INTEGER NOT NULL DEFAULT 0 CHECK (trials_succeeded >= 0),
    trials_failed     INTEGER NOT NULL DEFAULT 0 CHECK (trials_failed >= 0),
    trials_cancelled  INTEGER NOT NULL DEFAULT 0 CHECK (trials_cancelled >= 0),
    CHECK ((metric_name IS NULL) = (metric_goal IS NULL))
) STRICT;

CREATE TABLE workers (
    id            INTEGER PRIMARY KEY,
    host          TEXT    NOT NULL,
    -- (boot_id, pid, started_ticks) names one process of one boot of one machine, so that a coordinator on the same
    -- machine can tell a dead agent from a silent one.
    boot_id       TEXT    NOT NULL,
    pid           INTEGER NOT NULL,
    started_ticks INTEGER NOT NULL,
    slots         INTEGER NOT NULL,
    version       TEXT    NOT NULL,
    registered_at INTEGER NOT NULL,
    last_seen_at  INTEGER NOT NULL,
    left_at       INTEGER
) STRICT;

CREATE INDEX workers_present ON workers (id) WHERE left_at IS NULL;

CREATE TABLE jobs (
    id              INTEGER PRIMARY KEY,
    -- Names the state after last_epoch: configuration of epochs 1 to last_epoch, seed, dataset, numerics.
    hash            TEXT    NOT NULL UNIQUE,
    -- What a worker is asked to do (protocol::http::Work as JSON).
    work            TEXT    NOT NULL,
    -- The job whose final state this one continues.
    parent_id       INTEGER REFERENCES jobs (id),
    first_epoch     INTEGER NOT NULL CHECK (first_epoch >= 1),
    last_epoch      INTEGER NOT NULL CHECK (last_epoch >= first_epoch),
    cpus            INTEGER NOT NULL CHECK (cpus >= 1),
    retries         INTEGER NOT NULL CHECK (retries >= 0),
    priority        INTEGER NOT NULL DEFAULT 0,
    state           TEXT    NOT NULL
                    CHECK (state IN ('blocked', 'queued', 'leased', 'succeeded', 'failed', 'cancelled')),
    -- Parent and requirements that have not succeeded yet.
    open_needs      INTEGER NOT NULL DEFAULT 0 CHECK (open_needs >= 0),
    -- Number of the newest attempt, 0 before the first; the fencing token while leased.
    attempt         INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    -- How the newest ended attempt ended (lease::Outcome).
    last_outcome    TEXT,
    worker_id       INTEGER REFERENCES workers (id),
    lease_deadline  INTEGER,
    not_before      INTEGER,
    failure_reason  TEXT,
    -- Failures by kind (lease::Failures as JSON).
    failures        TEXT    NOT NULL DEFAULT '{}',
    -- The last epoch reported, for progress.
    reported_epoch  INTEGER NOT NULL DEFAULT 0,
    CHECK ((state = 'leased') = (worker_id IS NOT NULL)),
    CHECK ((state = 'leased') = (lease_deadline IS NOT NULL)),
    CHECK ((state = 'queued') = (not_before IS NOT NULL)),
    CHECK ((state = 'failed') = (failure_reason IS NOT NULL)),
    CHECK (state <> 'leased' OR attempt >= 1),
    CHECK (state NOT IN ('queued', 'leased') OR open_needs = 0)
) STRICT;

-- The order in which jobs are leased, and the order in which leases run out.
CREATE INDEX jobs_queue ON jobs (priority DESC, id) WHERE state = 'queued';
CREATE INDEX jobs_leases ON jobs (lease_deadline) WHERE state = 'leased';
CREATE INDEX jobs_children ON jobs (parent_id) WHERE parent_id IS NOT NULL;

-- Jobs whose final weights a job reads, beside its parent (ensemble distillation).
CREATE TABLE job_requirements (
    job_id      INTEGER NOT NULL REFERENCES jobs (id),
    required_id INTEGER NOT NULL REFERENCES jobs (id),
    PRIMARY KEY (job_id, required_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX job_requirements_by_required ON job_requirements (required_id);

CREATE TABLE trials (
    sweep_id   INTEGER NOT NULL REFERENCES sweeps (id),
    -- Place in the spec's full product, from 1; excluded combinations are gaps.
    number     INTEGER NOT NULL CHECK (number >= 1),
    parameters TEXT    NOT NULL,
    seed       INTEGER NOT NULL,
    -- The trial's last job: the trial's state is this job's.
    job_id     INTEGER NOT NULL REFERENCES jobs (id),
    PRIMARY KEY (sweep_id, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX trials_by_job ON trials (job_id);

-- Every job that a sweep needs, its trials' last jobs and what comes before them. A job serves any number of sweeps.
CREATE TABLE sweep_jobs (
    job_id   INTEGER NOT NULL REFERENCES jobs (id),
    sweep_id INTEGER NOT NULL REFERENCES sweeps (id),
    PRIMARY KEY (job_id, sweep_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX sweep_jobs_by_sweep ON sweep_jobs (sweep_id, job_id);

-- Attempts stay: when, where, how long, why.
CREATE TABLE attempts (
    job_id    INTEGER NOT NULL REFERENCES jobs (id),
    attempt   INTEGER NOT NULL CHECK (attempt >= 1),
    worker_id INTEGER NOT NULL REFERENCES workers (id),
    leased_at INTEGER NOT NULL,
    ended_at  INTEGER,
    -- lease::Outcome; NULL while the attempt runs.
    outcome   TEXT,
    message   TEXT,
    log_tail  TEXT,
    -- How the numbers came about (protocol::trial::TrialRecord as JSON), for a completed attempt.
    record    TEXT,
    PRIMARY KEY (job_id, attempt),
    CHECK ((ended_at IS NULL) = (outcome IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE reports (
    job_id  INTEGER NOT NULL REFERENCES jobs (id),
    epoch   INTEGER NOT NULL CHECK (epoch >= 1),
    metric  TEXT    NOT NULL,
    value   REAL    NOT NULL,
    -- Under which attempt it was reported; a later one replaces it.
    attempt INTEGER NOT NULL,
    PRIMARY KEY (job_id, epoch, metric)
) STRICT, WITHOUT ROWID;

-- Files that outlive their job: checkpoints, logs, exported features. The file's name is its hash.
CREATE TABLE artifacts (
    id         INTEGER PRIMARY KEY,
    job_id     INTEGER NOT NULL REFERENCES jobs (id),
    kind       TEXT    NOT NULL CHECK (kind IN ('checkpoint', 'log', 'features')),
    -- For a checkpoint: the epoch after which it was taken.
    epoch      INTEGER,
    hash       TEXT    NOT NULL,
    size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
    created_at INTEGER NOT NULL,
    UNIQUE (job_id, kind, epoch)
) STRICT;

CREATE INDEX artifacts_by_hash ON artifacts (hash);
