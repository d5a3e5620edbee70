-- Hosts on which different jobs failed alike, so that a restart of the coordinator does not give them the queue again.

CREATE TABLE ill_hosts (
    host           TEXT    NOT NULL PRIMARY KEY,
    -- vocabulary::FailureReason
    reason         TEXT    NOT NULL,
    -- JSON array of ids.
    jobs           TEXT    NOT NULL,
    -- The longest time from a lease of these to its failure.
    longest_millis INTEGER NOT NULL CHECK (longest_millis >= 0)
) STRICT, WITHOUT ROWID;
