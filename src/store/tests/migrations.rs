//! Databases of older schemas are brought up to date with their data.

use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::*;
use crate::store::MIGRATIONS;

/// A database as the program made it when this was its newest migration.
async fn make_database(path: &std::path::Path, newest: i64) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true).foreign_keys(true);
    let mut connection = options.connect().await.unwrap();
    let migrations = MIGRATIONS.iter().filter(|migration| migration.version <= newest).cloned().collect();
    Migrator::with_migrations(migrations).run(&mut connection).await.unwrap();
    connection
}

/// One sweep with a trial that succeeded and one that runs, as the first schema has them.
const FIRST_SCHEMA_DATA: &str = "
    INSERT INTO sweeps (id, name, spec, overrides, working_directory, expansion_hash, swept, created_at,
                        trials_running, trials_succeeded)
    VALUES (1, 'old', 'spec', '[]', '/', 'hash', '[]', 5, 1, 1);
    INSERT INTO workers (id, host, boot_id, pid, started_ticks, slots, version, registered_at, last_seen_at)
    VALUES (1, 'anne', 'boot', 1, 1, 1, '0', 0, 0);
    INSERT INTO jobs (id, hash, work, first_epoch, last_epoch, cpus, retries, state, attempt, last_outcome)
    VALUES (1, 'a', 'work of a', 1, 10, 1, 0, 'succeeded', 1, 'completed');
    INSERT INTO jobs (id, hash, work, first_epoch, last_epoch, cpus, retries, state, attempt, worker_id, lease_deadline,
                      reported_epoch)
    VALUES (2, 'b', 'work of b', 1, 10, 1, 0, 'leased', 1, 1, 60000, 3);
    INSERT INTO sweep_jobs (job_id, sweep_id) VALUES (1, 1), (2, 1);
    INSERT INTO trials (sweep_id, number, parameters, seed, job_id) VALUES (1, 1, '{}', 0, 1), (1, 2, '{}', 0, 2);
    INSERT INTO attempts (job_id, attempt, worker_id, leased_at, ended_at, outcome) VALUES (1, 1, 1, 0, 9, 'completed');
    INSERT INTO attempts (job_id, attempt, worker_id, leased_at) VALUES (2, 1, 1, 0);
    INSERT INTO reports (job_id, epoch, metric, value, attempt) VALUES (1, 10, 'top1', 91.5, 1), (2, 3, 'top1', 40, 1);
";

#[tokio::test]
async fn a_table_of_the_first_schema_is_brought_up_to_date_and_its_work_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sweep.db");
    let mut old = make_database(&path, 1).await;
    sqlx::raw_sql(FIRST_SCHEMA_DATA).execute(&mut old).await.unwrap();
    old.close().await.unwrap();

    let store = Store::open(&path).await.unwrap();
    check_invariants(&store).await;
    let trials = list_trials(&mut store.reader().await.unwrap(), SweepId(1)).await.unwrap();
    assert_eq!(
        trials.iter().map(|trial| trial.job_state.as_str()).collect::<Vec<_>>(),
        ["succeeded", "leased"]
    );
    assert_eq!(trials[0].metrics, report(10, 91.5).metrics);

    // The attempt that ran when the program was replaced goes on under its token, with a checkpoint from now on.
    let lease = LeaseFor { job: crate::vocabulary::JobId(2), attempt: crate::vocabulary::Attempt(1) };
    let with_checkpoint = NewReport { checkpoint: Some(checkpoint('1', 4, 0)), ..report(4, 41.0) };
    let outcome = NewOutcome { lease, reports: vec![with_checkpoint], ended: Ended::Release };
    assert_eq!(store.finish(vec![outcome], Timestamp(10)).await.unwrap().refused, []);
    let grant = Grant { worker: WorkerId(1), sweep: None, most: 9, lasts: LASTS };
    let leased = jobs(store.lease(grant, Timestamp(10)).await.unwrap());
    assert_eq!(leased.len(), 1);
    assert_eq!(leased[0].checkpoint, Some(checkpoint('1', 4, 0)));
    check_invariants(&store).await;
}
