-- What a lease's token has beside its attempt's number: drawn by chance at every lease, so that what was leased by this table before it
-- was restored from a copy, or by another table, is not mistaken for what it leases now under the same numbers.
ALTER TABLE jobs ADD COLUMN nonce INTEGER NOT NULL DEFAULT 0;

-- An export is told the token of a blocked job before it gets the lease.
ALTER TABLE promises ADD COLUMN nonce INTEGER NOT NULL DEFAULT 0;
