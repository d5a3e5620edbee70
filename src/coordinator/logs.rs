//! What trials printed: from the files of workers that share this state folder, and those in which what other workers send is
//! kept; otherwise what came with a failure.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{Coordinator, CoordinatorError, wire};
use crate::protocol::logs::{
    AttemptName, LogExtent, LogPart, LogQuery, LogResponse, LoggedAttempt, LoggedStage, LogsRequest,
};
use crate::store::{self, AttemptRow, LeaseFor, LineRow};
use crate::vocabulary::{Attempt, SweepId, TrialNumber};

/// A part of a log is no longer: enough for a screenful of screens, and little for a request.
const LARGEST_PART_BYTES: u64 = 256 << 10;

/// No more is kept of an attempt whose worker sends its log: it sends much less.
const LONGEST_SENT_BYTES: u64 = 64 << 20;

/// Where what workers send is written to. One part is added at a time: one that arrives twice at once is added once.
#[derive(Debug)]
pub(super) struct SentLogs(Mutex<PathBuf>);

impl SentLogs {
    pub(super) fn new(folder: PathBuf) -> SentLogs {
        SentLogs(Mutex::new(folder))
    }

    fn add(&self, parts: &[LogPart]) -> std::io::Result<()> {
        // The folder's name is all that is behind the lock.
        let folder = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::fs::create_dir_all(&*folder)?;
        parts.iter().try_for_each(|part| add_part(&folder.join(file_name(part.token.into())), part))
    }
}

fn add_part(path: &Path, part: &LogPart) -> std::io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    let length = file.metadata()?.len();
    // Where a part before this one was lost its text follows at once.
    let known = usize::try_from(length.saturating_sub(part.offset)).unwrap_or(usize::MAX);
    let room = usize::try_from(LONGEST_SENT_BYTES.saturating_sub(length)).unwrap_or(0);
    let new = part.text.as_bytes().get(known..).unwrap_or_default();
    file.write_all(&new[..new.len().min(room)])
}

impl Coordinator {
    /// Keeps what trials have printed whose workers don't share the state folder.
    ///
    /// # Errors
    /// When the table can't be read or a file can't be written; then some of it may be kept.
    pub async fn take_logs(&self, request: LogsRequest) -> Result<(), CoordinatorError> {
        let asked: BTreeSet<LeaseFor> = request.parts.iter().map(|part| part.token.into()).collect();
        let there = store::filter_attempts(&mut self.store.reader().await?, &asked).await?;
        let mut parts = request.parts;
        parts.retain(|part| there.contains(&part.token.into()));
        if parts.is_empty() {
            return Ok(());
        }
        let logs = self.sent_logs.clone();
        let added = tokio::task::spawn_blocking(move || logs.add(&parts)).await;
        added.map_err(std::io::Error::other).flatten().map_err(|source| match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => CoordinatorError::DiskFull,
            _ => CoordinatorError::File { what: "a log can't be kept".to_owned(), source },
        })
    }

    /// A part of what a trial printed.
    ///
    /// # Errors
    /// When there is no such trial, job or attempt, or the table or the file can't be read.
    pub async fn log(
        &self,
        sweep: SweepId,
        trial: TrialNumber,
        query: &LogQuery,
    ) -> Result<LogResponse, CoordinatorError> {
        self.find(sweep).await?;
        let stages = store::list_line(&mut self.store.reader().await?, sweep, trial).await?;
        let last = stages.last().ok_or(CoordinatorError::UnknownTrial { sweep, trial })?;
        let state = wire::trial_state(trial, &last.state)?;
        let logged = choose(&stages, query).map_err(|what| no_log(sweep, trial, what))?;
        let begun: Vec<LoggedStage> =
            stages.iter().filter(|stage| stage.attempt > Attempt(0)).map(Into::into).collect();
        let mut answer = LogResponse {
            attempt: None,
            text: String::new(),
            next_offset: query.offset,
            state,
            next: None,
            stages: begun,
        };
        let Some(name) = logged else { return Ok(answer) };
        let AttemptName { job, attempt } = name;
        let row = store::find_attempt(&mut self.store.reader().await?, job, attempt).await?;
        let row = row.ok_or_else(|| no_log(sweep, trial, format!("job {job} has no attempt {attempt}")))?;
        // The row was read before the file: where it says that the attempt has ended, the file is complete.
        let (extent, part) = self.read_part(name, &row, query.offset).await?;
        let (text, bytes) = readable(&part, row.has_ended);
        answer.text = text;
        answer.next_offset = query.offset.saturating_add(bytes);
        answer.next = next_after(name, &answer.stages);
        answer.attempt = Some(LoggedAttempt {
            name,
            host: row.host,
            file_name: file_name(name),
            has_ended: row.has_ended,
            extent,
        });
        Ok(answer)
    }

    async fn read_part(
        &self,
        name: AttemptName,
        row: &AttemptRow,
        offset: u64,
    ) -> Result<(LogExtent, Vec<u8>), CoordinatorError> {
        // The name is made of two numbers of the table: nothing that a request says becomes a path.
        let path = self.settings.logs.join(file_name(name));
        let read = tokio::task::spawn_blocking(move || read_from(&path, offset)).await;
        match read.map_err(std::io::Error::other).flatten() {
            Ok(part) => return Ok((LogExtent::Whole, part)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(source) => {
                let what = format!("the log `{}` can't be read", file_name(name));
                return Err(CoordinatorError::File { what, source });
            }
        }
        Ok(match row.log_tail.as_deref().filter(|tail| !tail.is_empty()) {
            Some(tail) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(tail.len());
                (LogExtent::Tail, tail.as_bytes()[start..].to_vec())
            }
            None => (LogExtent::Nothing, vec![]),
        })
    }
}

/// As agents name the files.
fn file_name(AttemptName { job, attempt }: AttemptName) -> String {
    format!("job-{job}-attempt-{attempt}.log")
}

fn no_log(sweep: SweepId, trial: TrialNumber, what: String) -> CoordinatorError {
    CoordinatorError::NoSuchLog { sweep, trial, what }
}

/// Which log is meant; nothing where no attempt has begun. In words, what is wrong with the question.
fn choose(stages: &[LineRow], query: &LogQuery) -> Result<Option<AttemptName>, String> {
    let begun = || stages.iter().rev().find(|stage| stage.attempt > Attempt(0));
    let stage = match query.job {
        None => begun(),
        Some(job) => Some(stages.iter().find(|stage| stage.job == job).ok_or_else(|| {
            let jobs: Vec<_> = stages.iter().map(|stage| stage.job.to_string()).collect();
            format!("job {job} is none of its jobs, which are {}", jobs.join(", "))
        })?),
    };
    match (stage, query.attempt) {
        (None, Some(attempt)) => Err(format!("it has no attempt {attempt}, since it was not begun yet")),
        (None, None) => Ok(None),
        (Some(stage), Some(attempt)) if attempt > stage.attempt || attempt < Attempt(1) => {
            let newest = stage.attempt;
            Err(format!("job {} has no attempt {attempt}; its newest is {newest}", stage.job))
        }
        (Some(stage), Some(attempt)) => Ok(Some(AttemptName { job: stage.job, attempt })),
        (Some(LineRow { attempt: Attempt(0), .. }), None) => Ok(None),
        (Some(stage), None) => Ok(Some(AttemptName { job: stage.job, attempt: stage.attempt })),
    }
}

/// The job's next attempt, or the first of the job behind it.
fn next_after(name: AttemptName, begun: &[LoggedStage]) -> Option<AttemptName> {
    let place = begun.iter().position(|stage| stage.newest.job == name.job)?;
    if begun[place].newest.attempt > name.attempt {
        return Some(AttemptName { attempt: Attempt(name.attempt.0 + 1), ..name });
    }
    begun.get(place + 1).map(|stage| AttemptName { attempt: Attempt(1), ..stage.newest })
}

fn read_from(path: &Path, offset: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    // Beyond what a file can be, seeking is an error.
    if offset >= file.metadata()?.len() {
        return Ok(vec![]);
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut part = Vec::new();
    file.take(LARGEST_PART_BYTES).read_to_end(&mut part)?;
    Ok(part)
}

/// The part as text, and how many of its bytes that takes: a character that is cut at the end waits for its rest, unless
/// there comes none.
fn readable(part: &[u8], is_last: bool) -> (String, u64) {
    let is_all = is_last && u64::try_from(part.len()).unwrap_or(u64::MAX) < LARGEST_PART_BYTES;
    let whole = if is_all { part } else { &part[..part.len() - cut_at_end(part)] };
    (String::from_utf8_lossy(whole).into_owned(), u64::try_from(whole.len()).unwrap_or(u64::MAX))
}

/// How many bytes at the end are the beginning of a longer character.
fn cut_at_end(bytes: &[u8]) -> usize {
    for (back, byte) in bytes.iter().rev().take(3).enumerate() {
        let length = match byte {
            // It continues a character that begins before.
            0x80..=0xBF => continue,
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => 1,
        };
        return if length > back + 1 { back + 1 } else { 0 };
    }
    0
}

impl From<&LineRow> for LoggedStage {
    fn from(row: &LineRow) -> LoggedStage {
        let LineRow { job, attempt, first_epoch, last_epoch, .. } = *row;
        LoggedStage { newest: AttemptName { job, attempt }, first_epoch, last_epoch }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http::LeaseToken;
    use crate::vocabulary::{JobId, Nonce};

    #[test]
    fn what_arrives_twice_or_in_pieces_is_added_once_and_within_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let token = LeaseToken { job: JobId(3), attempt: Attempt(1), nonce: Nonce(1) };
        let logs = SentLogs::new(folder.path().join("logs"));
        let send =
            |offset, text: &str| logs.add(&[LogPart { token, offset, text: text.to_owned() }]).unwrap();
        let path = folder.path().join("logs").join(file_name(token.into()));
        for (offset, text, expected) in [
            (0, "one\n", "one\n"),
            (0, "one\n", "one\n"),
            (2, "e\ntwo\n", "one\ntwo\n"),
            (1, "n", "one\ntwo\n"),
            // What was to be there before is lost.
            (100, "three\n", "one\ntwo\nthree\n"),
            (u64::MAX, "!", "one\ntwo\nthree\n!"),
        ] {
            send(offset, text);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        }
        File::options().append(true).open(&path).unwrap().set_len(LONGEST_SENT_BYTES - 2).unwrap();
        send(LONGEST_SENT_BYTES - 2, "more");
        assert_eq!(path.metadata().unwrap().len(), LONGEST_SENT_BYTES);
    }

    #[test]
    fn a_character_is_never_cut_by_the_end_of_a_part() {
        for text in ["aé", "a€", "a😀"] {
            let bytes = text.as_bytes();
            for end in 1..bytes.len() {
                assert_eq!(readable(&bytes[..end], false), ("a".to_owned(), 1), "{text} to {end}");
            }
            assert_eq!(readable(bytes, false), (text.to_owned(), bytes.len() as u64));
        }
    }

    #[test]
    fn what_is_no_text_is_replaced_and_never_waited_for() {
        assert_eq!(readable(b"a\xff", false), ("a\u{fffd}".to_owned(), 2));
        assert_eq!(
            readable(b"a\x80\x80\x80\x80", false),
            ("a\u{fffd}\u{fffd}\u{fffd}\u{fffd}".to_owned(), 5)
        );
        assert_eq!(readable(b"a\xe2\x82", true), ("a\u{fffd}".to_owned(), 3), "its rest never came");
    }

    #[test]
    fn the_log_that_is_meant_is_the_newest_of_the_last_job_that_was_begun() {
        let stage = |job, attempt| LineRow {
            job: JobId(job),
            first_epoch: 1,
            last_epoch: 2,
            state: "queued".to_owned(),
            reported_epoch: 0,
            attempt: Attempt(attempt),
            worker: None,
            lease_deadline: None,
            waits_until: None,
            failure: None,
            message: None,
            queue: SweepId(1),
            trial: TrialNumber(1),
            export: None,
        };
        let stages = [stage(4, 1), stage(6, 2), stage(9, 0)];
        let ask = |job: Option<i64>, attempt: Option<i64>| {
            let query = LogQuery { job: job.map(JobId), attempt: attempt.map(Attempt), offset: 0 };
            choose(&stages, &query)
        };
        let name = |job, attempt| AttemptName { job: JobId(job), attempt: Attempt(attempt) };
        let log = |job, attempt| Ok(Some(name(job, attempt)));
        assert_eq!(ask(None, None), log(6, 2));
        assert_eq!(ask(None, Some(1)), log(6, 1));
        assert_eq!(ask(Some(4), None), log(4, 1));
        assert_eq!(ask(Some(9), None), Ok(None), "it will begin");
        assert_eq!(ask(Some(7), None).unwrap_err(), "job 7 is none of its jobs, which are 4, 6, 9");
        assert_eq!(ask(None, Some(3)).unwrap_err(), "job 6 has no attempt 3; its newest is 2");
        assert_eq!(choose(&stages[2..], &LogQuery::default()), Ok(None));

        let begun: Vec<LoggedStage> = stages[..2].iter().map(Into::into).collect();
        let after = |job, attempt| next_after(name(job, attempt), &begun);
        assert_eq!(after(4, 1), Some(name(6, 1)));
        assert_eq!(after(6, 1), Some(name(6, 2)));
        assert_eq!(after(6, 2), None);
    }
}
