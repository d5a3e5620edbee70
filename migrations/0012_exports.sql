-- Exports: jobs that run where no coordinator can be reached. An export is a worker of a kind of its own: nobody hears of it while it
-- works, so its leases don't run out, and it is never on the list of those that are there (`left_at` is when it was made).
CREATE TABLE exports (
    worker_id  INTEGER PRIMARY KEY REFERENCES workers (id),
    sweep_id   INTEGER NOT NULL REFERENCES sweeps (id),
    created_at INTEGER NOT NULL
) STRICT;

-- Blocked jobs that an export takes: it gets the lease in the transaction in which what they need succeeds, under the attempt that
-- comes next. A row lasts as long as its job is blocked.
CREATE TABLE promises (
    job_id    INTEGER PRIMARY KEY REFERENCES jobs (id),
    worker_id INTEGER NOT NULL REFERENCES exports (worker_id)
) STRICT;

CREATE INDEX promises_by_worker ON promises (worker_id);
