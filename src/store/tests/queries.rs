//! How SQLite goes about the store's statements: none of them may read a table from end to end that grows with the trials.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;

/// Tables that grow with the trials.
const LARGE: [&str; 13] = [
    "jobs",
    "trials",
    "attempts",
    "reports",
    "artifacts",
    "inner_states",
    "job_requirements",
    "joins",
    "current",
    "keeps",
    "kept_checkpoints",
    "given_up",
    "promises",
];

/// Indexes of what is leased or waits for its next try, which the number of slots bounds.
const SMALL: [&str; 3] = ["jobs_leases", "jobs_held", "jobs_waiting"];

/// Statements that read a whole table, and why they may.
const ALLOWED: [(&str, &str); 10] = [
    ("load_known", "it stops at the first row of each"),
    ("insert_sweep", "only where a row waits for a sweep to refer to, which none ever does"),
    ("ensure_contexts", "only where a row waits for a context to refer to, which none ever does"),
    ("register_export", "the same as `register_worker`"),
    ("leave_gap_in_workers", "the same as `register_worker`"),
    ("register_worker", "only where a row waits for a worker to refer to, which none ever does"),
    ("list_artifact_hashes", "it is asked for all of them, at the coordinator's start"),
    ("list_checkpoints", "`sweep doctor` looks at all of them"),
    ("count_contents", "it is asked of a copy"),
    ("has_inner_states", "it stops at the first row"),
];

/// All statements by name, from what sqlx keeps of them.
fn statements() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx");
    let mut statements = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let kept: serde_json::Value = serde_json::from_str(&text).unwrap();
        let query = kept["query"].as_str().unwrap().to_owned();
        let name = query.lines().next().unwrap().trim_start_matches("-- ").to_owned();
        statements.insert(name, query);
    }
    statements
}

async fn plan_of(store: &Store, query: &str) -> Vec<String> {
    let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}"));
    let rows: Vec<(i64, i64, i64, String)> = sqlx::query_as(explain).fetch_all(&store.readers).await.unwrap();
    rows.into_iter().map(|row| row.3).collect()
}

#[tokio::test]
async fn no_statement_reads_a_large_table_from_end_to_end() {
    let fixture = Fixture::new().await;
    let mut wrong = Vec::new();
    let statements = statements();
    assert!(statements.contains_key("list_own_ready") && statements.contains_key("save_jobs"));
    for (name, query) in &statements {
        if ALLOWED.iter().any(|(allowed, _)| allowed == name) {
            continue;
        }
        for step in plan_of(&fixture.store, query).await {
            let scanned = step.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next());
            let is_large = scanned.is_some_and(|table| LARGE.contains(&table));
            let is_bounded = SMALL.iter().any(|index| step.ends_with(&format!("INDEX {index}")));
            if (is_large && !is_bounded) || step.contains("AUTOMATIC") {
                wrong.push(format!("{name}: {step}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn jobs_are_found_in_the_order_in_which_they_are_leased_without_sorting() {
    let fixture = Fixture::new().await;
    let statements = statements();
    for name in ["list_own_ready", "list_joined_ready", "list_ready_children", "find_next_due"] {
        let plan = plan_of(&fixture.store, &statements[name]).await;
        assert!(plan.iter().all(|step| !step.contains("TEMP B-TREE")), "{name}: {plan:#?}");
    }
}
