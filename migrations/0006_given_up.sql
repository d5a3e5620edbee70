-- Trials that a user has cancelled and not asked for again. Their jobs may go on, or be run again, for others; when these are
-- cancelled too, nobody is left who needs them.
CREATE TABLE given_up (
    sweep_id INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    -- The trial's last job.
    job_id   INTEGER NOT NULL REFERENCES jobs (id),
    PRIMARY KEY (sweep_id, number),
    FOREIGN KEY (sweep_id, number) REFERENCES trials (sweep_id, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX given_up_by_job ON given_up (job_id);

-- What was cancelled before this was noted.
INSERT INTO given_up (sweep_id, number, job_id)
SELECT trials.sweep_id, trials.number, trials.job_id
FROM jobs
JOIN trials ON trials.job_id = jobs.id
WHERE jobs.state = 'cancelled';
