//! Metrics of a certain epoch, over the jobs of which a trial consists.

use super::*;
use crate::store::{At, list_trials_at};
use crate::vocabulary::{Goal, Metric};

/// `aab` and `aac` share two epochs. `top1` is reported after each, `early` after the first only, `late` after the last.
async fn forked() -> (Fixture, SweepId) {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit_tree("s", &["aab", "aac"]).await.sweep;
    while let [job] = &fixture.lease(1, 0).await[..] {
        let of_trial = names(std::slice::from_ref(job))[0].to_owned();
        let reports = (job.first_epoch..=job.last_epoch).map(|epoch| {
            let (top1, other) = match (epoch, of_trial.as_str()) {
                (1, _) => (70.0, "early"),
                (2, _) => (90.0, "middle"),
                (_, "aab") => (80.0, "late"),
                _ => (90.0, "late"),
            };
            let mut report = report(epoch, top1);
            report.metrics.insert(other.to_owned(), f64::from(epoch));
            report
        });
        let mut reports: Vec<NewReport> = reports.collect();
        let state = Checkpoint { epoch: job.last_epoch, ..checkpoint('a', 1, 0) };
        reports.last_mut().unwrap().checkpoint = Some(state);
        let outcome = NewOutcome { lease: job.lease, reports, ended: complete() };
        assert_eq!(fixture.store.finish(vec![outcome], Timestamp(0)).await.unwrap(), []);
    }
    (fixture, sweep)
}

async fn metrics_at(fixture: &Fixture, sweep: SweepId, at: At) -> Vec<(Option<u32>, Metrics)> {
    let mut reader = fixture.store.reader().await.unwrap();
    let trials = list_trials_at(&mut reader, sweep, &at).await.unwrap();
    trials.into_iter().map(|trial| (trial.epoch, trial.metrics)).collect()
}

fn metrics(pairs: &[(&str, f64)]) -> Metrics {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

#[tokio::test]
async fn the_last_value_of_each_metric_counts_whichever_job_reported_it() {
    let (fixture, sweep) = forked().await;
    let both = metrics_at(&fixture, sweep, At::Last).await;
    let last = |top1| metrics(&[("top1", top1), ("early", 1.0), ("middle", 2.0), ("late", 3.0)]);
    assert_eq!(both, [(None, last(80.0)), (None, last(90.0))]);
}

#[tokio::test]
async fn an_epoch_has_what_was_reported_after_it_and_nothing_else() {
    let (fixture, sweep) = forked().await;
    for (epoch, expected) in [
        (1, [&[("top1", 70.0), ("early", 1.0)]; 2]),
        (2, [&[("top1", 90.0), ("middle", 2.0)]; 2]),
        (3, [&[("top1", 80.0), ("late", 3.0)], &[("top1", 90.0), ("late", 3.0)]]),
    ] {
        let found = metrics_at(&fixture, sweep, At::Epoch(epoch)).await;
        assert_eq!(found, expected.map(|pairs| (Some(epoch), metrics(pairs))), "epoch {epoch}");
    }
    assert_eq!(
        metrics_at(&fixture, sweep, At::Epoch(4)).await,
        [(None, Metrics::new()), (None, Metrics::new())]
    );
}

#[tokio::test]
async fn the_best_epoch_is_the_first_of_equals_and_may_lie_in_a_shared_job() {
    let (fixture, sweep) = forked().await;
    let best = |name: &str, goal| At::Best(Metric { name: name.to_owned(), goal });
    // The second trial is as good again in its last epoch.
    let second = (Some(2), metrics(&[("top1", 90.0), ("middle", 2.0)]));
    assert_eq!(metrics_at(&fixture, sweep, best("top1", Goal::Maximize)).await, [second.clone(), second]);
    let first = (Some(1), metrics(&[("top1", 70.0), ("early", 1.0)]));
    assert_eq!(metrics_at(&fixture, sweep, best("top1", Goal::Minimize)).await, [first.clone(), first]);
    let none = (None, Metrics::new());
    assert_eq!(metrics_at(&fixture, sweep, best("f1", Goal::Maximize)).await, [none.clone(), none]);
}
