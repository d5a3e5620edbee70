-- Reports in the order in which they are read: a metric of a job, epoch by epoch. The last value of each metric of a sweep, a
-- learning curve, the best epoch are then a few neighbouring rows, however many metrics and epochs there are.

CREATE TABLE new_reports (
    job_id  INTEGER NOT NULL REFERENCES jobs (id),
    metric  TEXT    NOT NULL,
    epoch   INTEGER NOT NULL CHECK (epoch >= 1),
    value   REAL    NOT NULL,
    -- Under which attempt it was reported; a later one replaces it.
    attempt INTEGER NOT NULL,
    PRIMARY KEY (job_id, metric, epoch)
) STRICT, WITHOUT ROWID;

INSERT INTO new_reports (job_id, metric, epoch, value, attempt)
SELECT job_id, metric, epoch, value, attempt
FROM reports
ORDER BY job_id, metric, epoch;

DROP TABLE reports;
ALTER TABLE new_reports RENAME TO reports;
