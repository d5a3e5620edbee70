"""Inserts the jobs and trials of a table into an empty one of the same shape: the floor for storing a sweep.

Prepared statements, one transaction, the same indexes, checks, foreign keys and pragmas. Prints the seconds.
"""

import sqlite3
import sys
import time

source, target = sys.argv[1:]
full = sqlite3.connect(source)
bare = sqlite3.connect(target, isolation_level=None)
for kind in ("table", "index"):
    query = "SELECT sql FROM sqlite_master WHERE type = ? AND sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
    for (sql,) in full.execute(query, (kind,)).fetchall():
        bare.execute(sql)


def copy(table, columns):
    rows = full.execute(f"SELECT {columns} FROM {table} ORDER BY 1, 2").fetchall()
    places = ", ".join("?" * len(columns.split(",")))
    return f"INSERT INTO {table} ({columns}) VALUES ({places})", rows


for table in ("sweeps", "contexts"):
    columns = ", ".join(row[1] for row in full.execute(f"PRAGMA table_info({table})"))
    bare.executemany(*copy(table, columns))
jobs = copy("jobs", "id, hash, parent_id, sweep_id, trial, context_id, first_epoch, last_epoch, cpus, retries, state, "
            "open_needs, live_dependents, is_kept")
trials = copy("trials", "sweep_id, number, parameters, seed, job_id")
for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "cache_size = -32768"):
    bare.execute(f"PRAGMA {pragma}").fetchall()

begun = time.perf_counter()
bare.execute("BEGIN IMMEDIATE")
bare.executemany(*jobs)
bare.executemany(*trials)
bare.execute("COMMIT")
print(time.perf_counter() - begun)
