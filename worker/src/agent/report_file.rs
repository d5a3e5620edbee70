//! What a program reports: JSON lines that it appends to the file named by `SWEEP_REPORT`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sweep::protocol::http::EpochMetrics;
use sweep::vocabulary::Metrics;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use super::lines::Lines;

/// A line is not longer: room for a thousand metrics.
const MAX_LINE_BYTES: usize = 64 << 10;
/// No more is read of one attempt: a line a second for days. What is reported waits in memory for the coordinator.
const MAX_FILE_BYTES: usize = 16 << 20;
/// How much is read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// How much of a bad line is quoted.
const QUOTED_CHARS: usize = 200;

/// The report file of one attempt, read while it grows. It need not exist.
#[derive(Debug)]
pub(crate) struct ReportFile {
    path: PathBuf,
    file: Option<File>,
    lines: ReportLines,
}

impl ReportFile {
    /// A line that names no epoch is that of the epoch of its number, after `epochs_before`.
    pub(crate) fn new(path: PathBuf, epochs_before: u32) -> ReportFile {
        ReportFile { path, file: None, lines: ReportLines::new(epochs_before) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What was added since the last call.
    pub(crate) async fn read_new(&mut self) -> Vec<EpochMetrics> {
        if self.file.is_none() {
            // On this thread: usually there is no file yet, and the way to another thread and back takes longer than finding
            // that out. The folder is the agent's own.
            self.file = std::fs::File::open(&self.path).ok().map(File::from_std);
        }
        let Some(file) = &mut self.file else {
            return Vec::new();
        };
        let mut reports = Vec::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match file.read(&mut chunk).await {
                Ok(0) => return reports,
                Ok(length) => reports.extend(self.lines.push(&chunk[..length])),
                Err(error) => {
                    self.lines.fail(format!("`SWEEP_REPORT` can't be read: {error}"));
                    return reports;
                }
            }
            if self.lines.fault.is_some() {
                return reports;
            }
        }
    }

    /// What was added since the last call, for the last time: the last line needs no line break. Removes the file.
    pub(crate) async fn finish(&mut self) -> Vec<EpochMetrics> {
        let mut reports = self.read_new().await;
        reports.extend(self.lines.finish());
        if self.file.take().is_some() {
            // What can't be removed now goes with its folder, when the agent ends.
            let _ = tokio::fs::remove_file(&self.path).await;
        }
        reports
    }

    /// The first thing that was wrong with it. Nothing behind that is read.
    pub(crate) fn fault(&self) -> Option<&str> {
        self.lines.fault.as_deref()
    }
}

#[derive(Debug)]
struct ReportLines {
    lines: Lines,
    epochs_before: u32,
    /// How many lines were read, and so the number of the last one.
    count: u32,
    bytes: usize,
    fault: Option<String>,
}

impl ReportLines {
    fn new(epochs_before: u32) -> ReportLines {
        ReportLines { lines: Lines::new(MAX_LINE_BYTES), epochs_before, count: 0, bytes: 0, fault: None }
    }

    fn push(&mut self, bytes: &[u8]) -> Vec<EpochMetrics> {
        self.bytes += bytes.len();
        let lines = self.lines.push(bytes);
        let reports = lines.iter().filter_map(|line| self.take(line)).collect();
        if self.lines.is_overlong() {
            self.fail(format!(
                "line {} of `SWEEP_REPORT` is longer than {MAX_LINE_BYTES} bytes; report fewer metrics a line, and write \
                 a line break after each report",
                self.count + 1
            ));
        } else if self.bytes > MAX_FILE_BYTES {
            self.fail(format!(
                "the file `SWEEP_REPORT` is longer than {MAX_FILE_BYTES} bytes; report less often, or fewer metrics"
            ));
        }
        reports
    }

    fn finish(&mut self) -> Option<EpochMetrics> {
        let rest = self.lines.take_rest();
        if rest.is_empty() { None } else { self.take(&rest) }
    }

    fn take(&mut self, line: &[u8]) -> Option<EpochMetrics> {
        if self.fault.is_some() {
            return None;
        }
        self.count += 1;
        if line.trim_ascii().is_empty() {
            return None;
        }
        match parse(line, self.epochs_before.saturating_add(self.count)) {
            Ok(report) => Some(report),
            Err(what) => {
                let text = String::from_utf8_lossy(line);
                let quoted: String = text.chars().take(QUOTED_CHARS).collect();
                self.fail(format!("line {} of `SWEEP_REPORT`: {what}: `{quoted}`", self.count));
                None
            }
        }
    }

    fn fail(&mut self, fault: String) {
        self.fault.get_or_insert(fault);
    }
}

/// One line: an object of numbers, `epoch` among them or else the one that follows from the line's place.
fn parse(line: &[u8], by_place: u32) -> Result<EpochMetrics, String> {
    let mut fields: BTreeMap<String, Value> = serde_json::from_slice(line).map_err(|error| {
        let text = String::from_utf8_lossy(line);
        let is_not_finite = text.contains("NaN") || text.contains("Infinity");
        let help = if is_not_finite { "; leave out metrics that are not finite" } else { "" };
        format!("not a JSON object ({error}{help})")
    })?;
    let epoch = match fields.remove("epoch") {
        None => by_place,
        Some(epoch) => {
            whole_number(&epoch).ok_or_else(|| "`epoch` is not a whole number from 1".to_owned())?
        }
    };
    let mut metrics = Metrics::new();
    for (name, value) in fields {
        match value.as_f64() {
            Some(number) if number.is_finite() => metrics.insert(name, number),
            _ => return Err(format!("`{name}` is not a finite number")),
        };
    }
    Ok(EpochMetrics { epoch, metrics, checkpoint: None })
}

/// Also where it is written as a float, as languages and libraries without integers do.
fn whole_number(value: &Value) -> Option<u32> {
    let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
    // The range is that of the type, within which a float is exact.
    (1.0..=f64::from(u32::MAX)).contains(&number).then_some(number as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<(u32, Metrics)>, Option<String>) {
        let mut lines = ReportLines::new(0);
        let mut reports = lines.push(text.as_bytes());
        reports.extend(lines.finish());
        (reports.into_iter().map(|report| (report.epoch, report.metrics)).collect(), lines.fault)
    }

    fn metrics(pairs: &[(&str, f64)]) -> Metrics {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value)).collect()
    }

    #[test]
    fn a_line_without_an_epoch_counts_by_its_number_and_the_last_needs_no_line_break() {
        let (reports, fault) = read("{\"top1\": 1}\n\n{\"epoch\": 9, \"top1\": 2.5}\n{\"top1\": 3}");
        let expected =
            [(1, 1.0), (9, 2.5), (4, 3.0)].map(|(epoch, top1)| (epoch, metrics(&[("top1", top1)])));
        assert_eq!(reports, expected);
        assert_eq!(fault, None);
    }

    #[test]
    fn a_stage_counts_its_lines_from_the_epochs_before_it() {
        let mut lines = ReportLines::new(30);
        let reports = lines.push(b"{\"a\": 1}\n{\"epoch\": 40, \"a\": 1}\n");
        assert_eq!(reports.iter().map(|report| report.epoch).collect::<Vec<_>>(), [31, 40]);
    }

    #[test]
    fn a_malformed_line_is_quoted_and_what_came_before_it_counts() {
        for (line, words) in [
            ("top1=3", "not a JSON object"),
            ("[1]", "not a JSON object"),
            ("{\"top1\": NaN}", "leave out metrics that are not finite"),
            ("{\"top1\": \"91\"}", "`top1` is not a finite number"),
            ("{\"top1\": true}", "`top1` is not a finite number"),
            ("{\"top1\": 1e999}", "not a JSON object"),
            ("{\"epoch\": 0}", "`epoch` is not a whole number from 1"),
            ("{\"epoch\": 1.5}", "`epoch` is not a whole number from 1"),
            ("{\"epoch\": 0.0}", "`epoch` is not a whole number from 1"),
            ("{\"epoch\": 4294967296}", "`epoch` is not a whole number from 1"),
            ("{\"epoch\": 1e300}", "`epoch` is not a whole number from 1"),
            ("{\"epoch\": \"1\"}", "`epoch` is not a whole number from 1"),
        ] {
            let (reports, fault) = read(&format!("{{\"loss\": 1}}\n{line}\n{{\"loss\": 2}}\n"));
            assert_eq!(reports, [(1, metrics(&[("loss", 1.0)]))], "{line}");
            let fault = fault.unwrap();
            assert!(fault.contains(words) && fault.contains(line) && fault.contains("line 2"), "{fault}");
        }
    }

    #[test]
    fn an_epoch_may_be_written_as_a_whole_float() {
        let (reports, fault) = read("{\"epoch\": 3.0, \"a\": 1}\n{\"epoch\": 4294967295.0}\n");
        assert_eq!(reports.iter().map(|(epoch, _)| *epoch).collect::<Vec<_>>(), [3, u32::MAX]);
        assert_eq!(fault, None);
    }

    #[test]
    fn an_endless_line_is_refused_with_where_it_is_and_what_to_do() {
        let (reports, fault) = read(&"x".repeat(MAX_LINE_BYTES + 1));
        assert!(reports.is_empty());
        let expected = "line 1 of `SWEEP_REPORT` is longer than 65536 bytes; report fewer metrics a line, and write a \
                        line break after each report";
        assert_eq!(fault.unwrap(), expected);
    }

    #[test]
    fn an_endless_file_is_refused_with_what_to_do() {
        let mut lines = ReportLines::new(0);
        let line = format!("{{\"{}\": 1}}\n", "m".repeat(60 << 10));
        let reports: usize = (0..300).map(|_| lines.push(line.as_bytes()).len()).sum();
        assert!((270..300).contains(&reports), "{reports}");
        let expected =
            "the file `SWEEP_REPORT` is longer than 16777216 bytes; report less often, or fewer metrics";
        assert_eq!(lines.fault.unwrap(), expected);
    }

    #[tokio::test]
    async fn a_file_is_read_while_it_grows_and_removed_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.jsonl");
        let mut file = ReportFile::new(path.clone(), 0);
        assert!(file.read_new().await.is_empty());
        std::fs::write(&path, "{\"a\": 1}\n{\"a\"").unwrap();
        assert_eq!(file.read_new().await.len(), 1);
        std::fs::write(&path, "{\"a\": 1}\n{\"a\": 2}").unwrap();
        assert!(file.read_new().await.is_empty());
        let last = file.finish().await;
        assert_eq!((last[0].epoch, last[0].metrics["a"]), (2, 2.0));
        assert!(!path.exists());
        assert_eq!(file.fault(), None);
    }
}
