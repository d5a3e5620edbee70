//! Databases of older schemas are brought up to date with their data.

use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::*;
use crate::store::{Keep, MIGRATIONS};
use crate::vocabulary::{Attempt, JobId, Nonce};

/// A database as the program made it when this was its newest migration.
async fn make_database(path: &std::path::Path, newest: i64) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true).foreign_keys(true);
    let mut connection = options.connect().await.unwrap();
    let migrations = MIGRATIONS.iter().filter(|migration| migration.version <= newest).cloned().collect();
    Migrator::with_migrations(migrations).run(&mut connection).await.unwrap();
    connection
}

const HASHES: [&str; 3] = ["1", "2", "3"];

/// A sweep with a trial that succeeded and one that runs, and a sweep that shares the latter and has a command of its own
/// that waits for its second try; as the first schema has them.
fn first_schema_data() -> String {
    let [one, two, three] = HASHES.map(|digit| digit.repeat(64));
    let trained = r#"{"trainer":"resnet","parameters":{"lr":0.1},"seed":0,"dataset_checksum":"sum","first_epoch":1,
                      "last_epoch":10}"#;
    let command = r#"{"trainer":"command","command":["echo","0.5"],"working_directory":"/tmp","parameters":{"x":0.5},
                      "seed":4,"trial":2}"#;
    format!(
        "INSERT INTO sweeps (id, name, spec, overrides, working_directory, expansion_hash, swept, created_at,
                             trials_running, trials_succeeded)
         VALUES (1, 'old', 'spec', '[]', '/', 'hash', '[]', 5, 1, 1);
         INSERT INTO sweeps (id, name, spec, overrides, working_directory, expansion_hash, swept, created_at,
                             trials_queued, trials_running)
         VALUES (2, 'other', 'spec', '[]', '/', 'other', '[]', 5, 1, 1);
         INSERT INTO workers (id, host, boot_id, pid, started_ticks, slots, version, registered_at, last_seen_at)
         VALUES (1, 'anne', 'boot', 1, 1, 1, '0', 0, 0);
         INSERT INTO jobs (id, hash, work, first_epoch, last_epoch, cpus, retries, state, attempt, last_outcome)
         VALUES (1, '{one}', '{trained}', 1, 10, 1, 0, 'succeeded', 1, 'completed');
         INSERT INTO jobs (id, hash, work, first_epoch, last_epoch, cpus, retries, state, attempt, worker_id,
                           lease_deadline, reported_epoch)
         VALUES (2, '{two}', '{trained}', 1, 10, 1, 0, 'leased', 1, 1, 60000, 3);
         INSERT INTO jobs (id, hash, work, first_epoch, last_epoch, cpus, retries, state, attempt, last_outcome,
                           not_before, failures)
         VALUES (3, '{three}', '{command}', 1, 1, 1, 1, 'queued', 1, 'failed:exit:1', 1000, '{{\"exit\":1}}');
         INSERT INTO sweep_jobs (job_id, sweep_id) VALUES (1, 1), (2, 1), (2, 2), (3, 2);
         INSERT INTO trials (sweep_id, number, parameters, seed, job_id)
         VALUES (1, 1, '{{}}', 0, 1), (1, 2, '{{}}', 0, 2), (2, 1, '{{}}', 0, 2), (2, 2, '{{\"x\":0.5}}', 4, 3);
         INSERT INTO attempts (job_id, attempt, worker_id, leased_at, ended_at, outcome)
         VALUES (1, 1, 1, 0, 9, 'completed'), (3, 1, 1, 0, 9, 'failed:exit:1');
         INSERT INTO attempts (job_id, attempt, worker_id, leased_at) VALUES (2, 1, 1, 0);
         INSERT INTO reports (job_id, epoch, metric, value, attempt)
         VALUES (1, 10, 'top1', 91.5, 1), (2, 3, 'top1', 40, 1);"
    )
}

/// A store on a database that had this as its newest migration.
async fn open_old(folder: &std::path::Path, newest: i64) -> Store {
    let path = folder.join("sweep.db");
    let mut old = make_database(&path, newest).await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(first_schema_data())).execute(&mut old).await.unwrap();
    old.close().await.unwrap();
    let store = Store::open(&path).await.unwrap();
    check_invariants(&store).await;
    store
}

#[tokio::test]
async fn a_table_of_an_older_schema_is_brought_up_to_date_and_its_work_goes_on() {
    for newest in [1, 2] {
        let folder = tempfile::tempdir().unwrap();
        let store = open_old(folder.path(), newest).await;
        let trials = list_trials(&mut store.reader().await.unwrap(), SweepId(1)).await.unwrap();
        assert_eq!(
            trials.iter().map(|trial| trial.job_state.as_str()).collect::<Vec<_>>(),
            ["succeeded", "leased"]
        );
        assert_eq!(trials[0].metrics, report(10, 91.5).metrics);

        // The attempt that ran when the program was replaced goes on under its token.
        let lease = LeaseFor { job: JobId(2), attempt: Attempt(1), nonce: Nonce(0) };
        let with_checkpoint = NewReport { checkpoint: Some(checkpoint('1', 4, 0)), ..report(4, 41.0) };
        let outcome = NewOutcome { lease, reports: vec![with_checkpoint], ended: Ended::Release };
        assert_eq!(store.finish(vec![outcome], Timestamp(10)).await.unwrap(), []);
        // The sweep that had joined it gets it too, and each finds its work.
        let grant = Grant { worker: WorkerId(1), sweep: Some(SweepId(2)), most: 9, lasts: LASTS };
        let leased = jobs(store.lease(grant.clone(), Timestamp(999)).await.unwrap());
        assert_eq!(leased.len(), 1, "the other waits for its second try");
        assert_eq!(leased[0].checkpoint, Some(checkpoint('1', 4, 0)));
        assert_eq!(&*leased[0].context, r#"{"trainer":"resnet","dataset_checksum":"sum"}"#);
        let leased = jobs(store.lease(grant, Timestamp(1000)).await.unwrap());
        assert_eq!((leased[0].lease.job, leased[0].lease.attempt), (JobId(3), Attempt(2)));
        let context =
            r#"{"trainer":"command","command":["echo","0.5"],"working_directory":"/tmp","form":"rendered"}"#;
        assert_eq!((&*leased[0].context, leased[0].trial, leased[0].seed), (context, TrialNumber(2), 4));
        check_invariants(&store).await;
    }
}

/// A sweep with a trial that waits, as the schema of stage trees has it.
const THIRD_SCHEMA_DATA: &str = "
    INSERT INTO sweeps (id, name, spec, overrides, working_directory, expansion_hash, metric_name, metric_goal, swept,
                        created_at, trials_queued)
    VALUES (1, 'old', 'spec', '[]', '/', 'hash', 'top1', 'maximize', '[]', 5, 1);
    INSERT INTO contexts (id, work) VALUES (1, 'context');
    INSERT INTO jobs (id, hash, sweep_id, trial, context_id, first_epoch, last_epoch, cpus, retries, state)
    VALUES (1, x'11111111111111111111111111111111', 1, 1, 1, 1, 10, 1, 0, 'queued');
    INSERT INTO trials (sweep_id, number, parameters, seed, job_id) VALUES (1, 1, '\"a\"', 0, 1);
    INSERT INTO workers (id, host, boot_id, pid, started_ticks, slots, version, registered_at, last_seen_at)
    VALUES (1, 'anne', 'boot', 1, 1, 1, '0', 0, 0);";

#[tokio::test]
async fn a_table_without_kept_checkpoints_keeps_no_more_until_a_sweep_asks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sweep.db");
    let mut old = make_database(&path, 3).await;
    sqlx::raw_sql(THIRD_SCHEMA_DATA).execute(&mut old).await.unwrap();
    old.close().await.unwrap();
    let store = Store::open(&path).await.unwrap();
    check_invariants(&store).await;
    let mut keeping = NewSweep { keep: Keep::All, ..sweep("new", &["a"]) };
    keeping.jobs[0].state = "1".repeat(32).parse().unwrap();
    assert_eq!(store.submit(keeping, Timestamp(0)).await.unwrap().jobs_new, 0);
    let grant = Grant { worker: WorkerId(1), sweep: None, most: 1, lasts: LASTS };
    let leased = jobs(store.lease(grant, Timestamp(0)).await.unwrap());
    for epoch in [1, 2] {
        let digit = char::from_digit(epoch, 10).unwrap();
        let report = NewReport { checkpoint: Some(checkpoint(digit, epoch, 0)), ..report(epoch, 1.0) };
        assert_eq!(store.report(vec![(leased[0].lease, report)], Timestamp(0)).await.unwrap(), []);
    }
    check_invariants(&store).await;
    let trials = list_trials(&mut store.reader().await.unwrap(), SweepId(1)).await.unwrap();
    assert_eq!(trials[0].checkpoints.iter().map(|kept| kept.epoch).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn a_new_sweep_joins_the_jobs_of_an_older_schema() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_old(folder.path(), 2).await;
    let mut new = sweep("new", &["a", "b"]);
    for (job, digit) in new.jobs.iter_mut().zip(HASHES) {
        job.state = digit.repeat(32).parse().unwrap();
    }
    let submitted = store.submit(new, Timestamp(20)).await.unwrap();
    assert_eq!((submitted.trials_reused, submitted.jobs_new), (1, 0));
    check_invariants(&store).await;
}

#[tokio::test]
async fn a_table_of_a_newer_program_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sweep.db");
    Store::open(&path).await.unwrap().close().await;
    let mut connection = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'from the future', 1, x'00', 0)";
    sqlx::query(newer).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let Err(error) = Store::open(&path).await else { panic!("it was opened") };
    assert!(
        error
            .to_string()
            .ends_with("was made by a newer version of `sweep`; take that one, or another folder")
    );
}
