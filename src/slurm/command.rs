//! Slurm's own programs: run within a time, their words kept.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// More than Slurm's programs say about one user's jobs.
const LONGEST_ANSWER: u64 = 64 << 20;
/// Of complaints no more is read.
const LONGEST_COMPLAINT: u64 = 64 << 10;

/// What users set so that Slurm's programs show them less, or otherwise. Jobs that are left out would be taken for ended ones.
const HABITS: &[&str] = &[
    "SACCT_FORMAT",
    "SCANCEL_ACCOUNT",
    "SCANCEL_BATCH",
    "SCANCEL_FULL",
    "SCANCEL_INTERACTIVE",
    "SCANCEL_NAME",
    "SCANCEL_PARTITION",
    "SCANCEL_QOS",
    "SCANCEL_STATE",
    "SCANCEL_USER",
    "SCANCEL_WCKEY",
    "SQUEUE_ACCOUNT",
    "SQUEUE_ARRAY_UNIQUE",
    "SQUEUE_CLUSTERS",
    "SQUEUE_FORMAT",
    "SQUEUE_FORMAT2",
    "SQUEUE_LICENSES",
    "SQUEUE_NAMES",
    "SQUEUE_PARTITION",
    "SQUEUE_PRIORITY",
    "SQUEUE_QOS",
    "SQUEUE_STATES",
    "SQUEUE_USERS",
];

/// Why one of Slurm's programs did not do what it was asked for. What it said itself is passed on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SlurmError {
    #[error(
        "there is no `{program}` here; run this where Slurm's commands are, on a login node, with them on PATH"
    )]
    Missing { program: &'static str },
    #[error("`{program}` can't be started: {problem}")]
    Start { program: &'static str, problem: String },
    #[error("{program} refused: {}{}", words, help_line(words))]
    Refused { program: &'static str, words: String },
    #[error("{program} did not end within {} s{}", after.as_secs(), said(words))]
    Silent { program: &'static str, after: Duration, words: String },
    #[error("{program} printed no job id: `{}`", answer.escape_debug())]
    Unreadable { program: &'static str, answer: String },
    #[error("stopped while {program} was at work")]
    Interrupted { program: &'static str },
}

impl SlurmError {
    /// Whether Slurm may have done what was asked for all the same: its answer is what got lost.
    pub(super) fn is_unclear(&self) -> bool {
        match self {
            SlurmError::Missing { .. } | SlurmError::Start { .. } => false,
            SlurmError::Silent { .. } | SlurmError::Unreadable { .. } | SlurmError::Interrupted { .. } => {
                true
            }
            SlurmError::Refused { words, .. } => {
                let was_sent = !words.contains("connect failure");
                was_sent && (words.contains("timed out") || words.contains("Unable to contact"))
            }
        }
    }

    /// Whether there is no Slurm here at all, at most its commands.
    #[must_use]
    pub fn is_nowhere(&self) -> bool {
        match self {
            SlurmError::Missing { .. } => true,
            SlurmError::Refused { words, .. } => {
                words.contains("configuration source") || words.contains("failed to fetch config")
            }
            _ => false,
        }
    }
}

/// What a program is to be asked.
pub(super) struct Question<'a> {
    pub(super) program: &'static str,
    pub(super) arguments: &'a [String],
    pub(super) input: &'a str,
    pub(super) within: Duration,
}

/// What the program prints.
pub(super) async fn ask(question: Question<'_>) -> Result<String, SlurmError> {
    let Question { program, arguments, input, within } = question;
    let mut command = Command::new(program);
    for name in HABITS {
        command.env_remove(name);
    }
    let mut child = command
        .args(arguments)
        // What people see is not what is read here.
        .env("LC_ALL", "C")
        .env("SLURM_TIME_FORMAT", "standard")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A Ctrl-C is this program's to hear: it has to find out what became of the question.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => SlurmError::Missing { program },
            _ => SlurmError::Start { program, problem: error.to_string() },
        })?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut answer, mut complaint) = (Vec::new(), Vec::new());
    let talk = async {
        let feed = async {
            if let Some(mut stdin) = stdin {
                // Who doesn't read says why by its exit.
                let _refused = stdin.write_all(input.as_bytes()).await;
            }
        };
        tokio::join!(
            feed,
            read(stdout, LONGEST_ANSWER, &mut answer),
            read(stderr, LONGEST_COMPLAINT, &mut complaint)
        );
        child.wait().await
    };
    let ended = tokio::time::timeout(within, talk).await;
    let words = String::from_utf8_lossy(&complaint).trim().to_owned();
    match ended {
        Ok(Ok(status)) if status.success() => Ok(String::from_utf8_lossy(&answer).into_owned()),
        Ok(Ok(status)) if words.is_empty() => {
            Err(SlurmError::Refused { program, words: format!("it ended with {status} and said nothing") })
        }
        Ok(Ok(_)) => Err(SlurmError::Refused { program, words }),
        Ok(Err(error)) => Err(SlurmError::Start { program, problem: error.to_string() }),
        Err(_) => Err(SlurmError::Silent { program, after: within, words }),
    }
}

async fn read(from: Option<impl AsyncRead + Unpin>, most: u64, into: &mut Vec<u8>) {
    if let Some(from) = from {
        // What can't be read any more is missed in the answer, where it is noticed.
        let _broke_off = from.take(most).read_to_end(into).await;
    }
}

/// What to do about it, where Slurm's own words leave that open.
fn help_line(words: &str) -> String {
    const HELP: &[(&str, &str)] = &[
        (
            "Invalid job array specification",
            "fewer `--workers`: `scontrol show config | grep MaxArraySize` says how many are possible",
        ),
        ("invalid partition", "`sinfo -s` lists the partitions"),
        ("Invalid partition", "`sinfo -s` lists the partitions"),
        (
            "node configuration is not available",
            "no node of the partition has all this: `sinfo -o '%P %c %m %G'` says what they have",
        ),
        ("generic resource", "`sinfo -o '%P %G'` says what `--gres` can be"),
        (
            "SubmitJob",
            "each task of an array counts as a job. Ask for fewer (`--workers`, or with `--static` more `--jobs-per-task`), wait for \
             some to end (`squeue --me`), or name another limit with `--qos` or `--account`; `sacctmgr show qos \
             format=Name,MaxSubmitPU` says how many a user may have",
        ),
        (
            "PerJobLimit",
            "each task asks for more than a job may have; `sacctmgr show qos format=Name,MaxWall,MaxTRES` says what is allowed",
        ),
        ("QOS", "ask for less or name another one with `--qos`; `sacctmgr show qos` says what is allowed"),
        ("Invalid account", "`sacctmgr show associations user=$USER` lists yours; name one with `--account`"),
        ("time limit", "`sinfo -o '%P %l'` says how much `--time` is possible"),
        ("Unable to contact slurm controller", "`scontrol ping` says whether Slurm is up"),
        ("configuration source", "Slurm's commands find no cluster here; run this on a login node"),
    ];
    let fitting = HELP.iter().find(|(part, _)| words.contains(part));
    fitting.map(|(_, help)| format!("\nhelp: {help}")).unwrap_or_default()
}

fn said(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!("; it said: {words}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str, input: &str) -> Result<String, SlurmError> {
        let arguments = ["-c".to_owned(), script.to_owned()];
        ask(Question { program: "sh", arguments: &arguments, input, within: Duration::from_secs(60) }).await
    }

    #[test]
    fn of_a_limit_it_is_said_what_counts_towards_it() {
        // As sbatch says it: the limit in a line of its own.
        let said = |limit: &str| {
            let words = format!(
                "sbatch: error: {limit}\nsbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit \
                 limit, user's size and/or time limits)"
            );
            SlurmError::Refused { program: "sbatch", words }.to_string()
        };
        for limit in ["QOSMaxSubmitJobPerUserLimit", "AssocMaxSubmitJobLimit", "QOSGrpSubmitJobsLimit"] {
            assert!(
                said(limit).contains(limit) && said(limit).contains("--jobs-per-task"),
                "{}",
                said(limit)
            );
        }
        assert!(said("QOSMaxWallDurationPerJobLimit").contains("MaxWall"));
        assert!(said("QOSGrpGRES").contains("ask for less or name another one with `--qos`"));
    }

    #[tokio::test]
    async fn an_answer_is_what_was_printed_and_a_refusal_has_the_programs_own_words() {
        assert_eq!(shell("cat; echo warning >&2", "17").await.unwrap(), "17");
        let refused = shell("echo 'sbatch: error: invalid partition specified: nope' >&2; exit 1", "").await;
        let text = refused.unwrap_err().to_string();
        assert_eq!(
            text,
            "sh refused: sbatch: error: invalid partition specified: nope\nhelp: `sinfo -s` lists the partitions"
        );
        let silent = shell("exit 3", "").await.unwrap_err().to_string();
        assert!(silent.contains("exit status: 3 and said nothing"), "{silent}");
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_is_ended_and_what_it_said_is_passed_on() {
        let arguments = ["-c".to_owned(), "echo waiting >&2; exec sleep 600".to_owned()];
        let within = Duration::from_millis(500);
        let asked = ask(Question { program: "sh", arguments: &arguments, input: "", within }).await;
        let error = asked.unwrap_err();
        assert!(error.is_unclear() && error.to_string().ends_with("it said: waiting"), "{error}");
    }

    #[test]
    fn what_could_not_be_sent_is_not_looked_for_and_a_host_without_slurm_is_known() {
        let refused = |words: &str| SlurmError::Refused { program: "sbatch", words: words.to_owned() };
        let unsent = refused(
            "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
        );
        assert!(!unsent.is_unclear() && !unsent.is_nowhere());
        assert!(refused("Socket timed out on send/recv operation").is_unclear());
        assert!(refused("squeue: error: _establish_config_source: failed to fetch config").is_nowhere());
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_said_to_be_missing() {
        let asked = ask(Question {
            program: "no-such-sbatch",
            arguments: &[],
            input: "",
            within: Duration::from_secs(60),
        });
        let error = asked.await.unwrap_err();
        assert!(matches!(error, SlurmError::Missing { .. }) && !error.is_unclear(), "{error}");
    }
}
