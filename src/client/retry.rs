use std::time::Duration;

use tracing::warn;

use super::ClientError;

/// How often and at what distance a call is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Upper bound of the first pause; each later one is twice as long.
    pub first: Duration,
    /// No pause is longer.
    pub longest: Duration,
    /// Calls in all, the first included.
    pub attempts: u32,
    /// Sets this process apart from others, so that those which lost the coordinator together don't return together.
    pub seed: u64,
}

impl Backoff {
    /// The pause after `failed` failed calls (from 1): between half and all of the doubled pause.
    #[must_use]
    pub fn pause(&self, failed: u32) -> Duration {
        let doublings = failed.saturating_sub(1).min(31);
        let whole = self.first.saturating_mul(1 << doublings).min(self.longest);
        whole.mul_f64(0.5 + 0.5 * fraction(self.seed, failed))
    }
}

/// A number in [0, 1) that depends on nothing but its arguments.
fn fraction(seed: u64, counter: u32) -> f64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"sweep retry").update(&seed.to_le_bytes()).update(&counter.to_le_bytes());
    let mut bytes = [0; 4];
    hasher.finalize_xof().fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / 4_294_967_296.0
}

/// Repeats `call` while its error is transient and the back-off allows; `what` says in the log what is tried.
///
/// # Errors
/// The last call's error.
pub async fn retry<T, C, F>(backoff: &Backoff, what: &str, mut call: C) -> Result<T, ClientError>
where
    C: FnMut() -> F,
    F: Future<Output = Result<T, ClientError>>,
{
    let mut failed = 0;
    loop {
        let error = match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        failed += 1;
        if !error.is_transient() || failed >= backoff.attempts {
            return Err(error);
        }
        let pause = backoff.pause(failed);
        let pause_millis = pause.as_millis();
        warn!(
            error = &error as &dyn std::error::Error,
            failed, pause_millis, "can't {what} yet, trying again"
        );
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http::Problem;

    const QUICK: Backoff =
        Backoff { first: Duration::from_millis(1), longest: Duration::from_millis(4), attempts: 3, seed: 7 };

    fn refused(status: u16) -> ClientError {
        ClientError::Refused { status, problem: Box::new(Problem::new(status, "x", "no")) }
    }

    /// How many calls are made where call number n has the status `statuses[n]`, and how that ends.
    async fn count_calls(statuses: &[u16]) -> (usize, Result<(), ClientError>) {
        let mut calls = 0;
        let result = retry(&QUICK, "test", || {
            calls += 1;
            let status = statuses[calls - 1];
            async move { if status == 200 { Ok(()) } else { Err(refused(status)) } }
        })
        .await;
        (calls, result)
    }

    #[tokio::test]
    async fn a_transient_error_is_retried_until_it_passes() {
        let (calls, result) = count_calls(&[503, 500, 200]).await;
        assert_eq!(calls, 3);
        assert!(result.is_ok());
    }

    #[tokio::test]
    async fn retries_have_a_bound() {
        let (calls, result) = count_calls(&[503, 503, 503, 200]).await;
        assert_eq!(calls, 3);
        assert!(result.unwrap_err().is_transient());
    }

    #[tokio::test]
    async fn a_refusal_is_not_retried() {
        let (calls, result) = count_calls(&[401, 200]).await;
        assert_eq!(calls, 1);
        assert!(result.is_err());
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_jitter_stays_in_the_upper_half() {
        let backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(6), ..QUICK };
        for (failed, whole) in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 6.0), (100, 6.0)] {
            let pause = backoff.pause(failed).as_secs_f64();
            assert!((0.5 * whole..whole).contains(&pause), "pause {pause} after {failed} failures");
        }
    }

    #[test]
    fn processes_with_different_seeds_pause_differently() {
        let other = Backoff { seed: 8, ..QUICK };
        assert_ne!(QUICK.pause(1), other.pause(1));
        assert_eq!(QUICK.pause(1), QUICK.pause(1));
    }
}
