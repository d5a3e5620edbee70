//! Whether the node's GPUs compute right: each is asked for a result that is known, by a trainer of its own that sees no other. A
//! GPU that gets it wrong, or takes its trainer down, is left out before it costs a trial its numbers.

use std::sync::Arc;

use sweep::protocol::trial::Verdict;
use tokio::task::JoinSet;

use super::slot::Place;
use super::{AgentError, trainer_process};

/// Those of `gpus` that may be used, in their order.
///
/// # Errors
/// None may.
pub(crate) async fn keep_sound(place: &Arc<Place>, gpus: Vec<String>) -> Result<Vec<String>, AgentError> {
    let mut examinations = JoinSet::new();
    for (number, gpu) in gpus.iter().cloned().enumerate() {
        let place = place.clone();
        examinations.spawn(async move { (number, trainer_process::examine(&place, &gpu).await) });
    }
    let mut verdicts = examinations.join_all().await;
    verdicts.sort_by_key(|(number, _)| *number);
    let mut refused = Vec::new();
    let mut sound = Vec::new();
    for (gpu, (_, verdict)) in gpus.into_iter().zip(verdicts) {
        match verdict {
            Verdict::Sound => sound.push(gpu),
            Verdict::Untested { message } => {
                tracing::warn!("GPU {gpu} is used without a test: {message}");
                sound.push(gpu);
            }
            Verdict::Unsound { message } => {
                tracing::error!("GPU {gpu} is not used, since it does not compute right: {message}");
                refused.push(format!("GPU {gpu} does not compute right: {message}"));
            }
        }
    }
    match (sound.is_empty(), refused.is_empty()) {
        (true, false) => Err(AgentError::Unfit(refused.join("; "))),
        _ => Ok(sound),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;
    use crate::spawn::Inheritance;

    /// Answers as its GPU is called.
    const TRAINER: &str = r#"#!/bin/sh
echo '{"type": "ready"}'
read -r request
case "$request" in *'"examine"'*'"gpu"'*) ;; *) exit 9 ;; esac
case "$CUDA_VISIBLE_DEVICES" in
GPU-good*) echo '{"type": "examined", "verdict": {"type": "sound"}}' ;;
GPU-wrong) echo '{"type": "examined", "verdict": {"type": "unsound", "message": "5 where 4 is right"}}' ;;
GPU-dead) echo "CUDA error: an illegal memory access" >&2; exit 1 ;;
GPU-old) echo '{"type": "failed", "reason": "bad_config", "message": "no request of mine"}' ;;
esac
exec sleep 600
"#;

    fn place(folder: &std::path::Path) -> Arc<Place> {
        let trainer = folder.join("trainer");
        // Another process writes it: what is open for writing can't be started.
        let write = r#"printf '%s' "$1" > "$2" && chmod +x "$2""#;
        let status = Command::new("sh").args(["-c", write, "sh", TRAINER]).arg(&trainer).status().unwrap();
        assert!(status.success());
        Arc::new(Place {
            logs: folder.to_owned(),
            spool: folder.to_owned(),
            datasets: folder.to_owned(),
            artifacts: folder.to_owned(),
            attempts: folder.to_owned(),
            remote: None,
            trainer,
            grace: Duration::ZERO,
            ends_with_its_trials: false,
            memory: Default::default(),
            inheritance: Inheritance::new().unwrap(),
        })
    }

    async fn keep(gpus: &[&str]) -> Result<Vec<String>, AgentError> {
        let folder = tempfile::tempdir().unwrap();
        keep_sound(&place(folder.path()), gpus.iter().map(|&gpu| gpu.to_owned()).collect()).await
    }

    #[tokio::test]
    async fn a_gpu_that_computes_wrong_or_takes_its_trainer_down_is_left_out() {
        let kept = keep(&["GPU-good1", "GPU-wrong", "GPU-good2", "GPU-dead", "GPU-old"]).await.unwrap();
        assert_eq!(kept, ["GPU-good1", "GPU-good2", "GPU-old"]);
    }

    #[tokio::test]
    async fn a_node_without_a_gpu_that_computes_right_is_refused_by_their_names() {
        let error = keep(&["GPU-wrong", "GPU-dead"]).await.unwrap_err().to_string();
        for words in ["GPU-wrong", "5 where 4 is right", "GPU-dead", "exit code 1", "illegal memory access"] {
            assert!(error.contains(words), "{words}: {error}");
        }
        assert_eq!(keep(&[]).await.unwrap(), Vec::<String>::new(), "a node of CPUs has none to examine");
    }

    #[tokio::test]
    async fn without_a_trainer_there_is_no_test() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path());
        std::fs::remove_file(&place.trainer).unwrap();
        assert_eq!(keep_sound(&place, vec!["GPU-good".to_owned()]).await.unwrap(), ["GPU-good"]);
    }
}
