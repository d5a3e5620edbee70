//! The code of a command spec on its way to a coordinator in another process: the files are those of the host where the
//! command is typed, wherever the job table is.

use std::io::Write;

use super::CliError;
use super::spec_file::CheckedSpec;
use crate::client::{Client, ClientError};
use crate::coordinator::Code;
use crate::protocol::http::{EarlierSweep, SubmitResponse};
use crate::report::grouped;

/// The code of the problem that the coordinator does not have an archive.
const CODE_NOT_SENT: &str = "code_not_sent";

/// Files that are named.
const NAMED: usize = 5;

/// Submits a spec with the code that it is to run, which is sent where the coordinator does not have it.
pub(super) async fn submit(spec: &CheckedSpec, client: &Client) -> Result<SubmitResponse, CliError> {
    let archive = spec.code.as_ref().and_then(Code::archive);
    match (client.submit(&spec.request).await, archive) {
        (Err(ClientError::Refused { problem, .. }), Some((hash, archive)))
            if problem.code == CODE_NOT_SENT =>
        {
            let mut file = tempfile::NamedTempFile::new().map_err(CliError::failed)?;
            file.write_all(archive).map_err(CliError::failed)?;
            client.send_artifact(file.path(), &hash).await?;
            Ok(client.submit(&spec.request).await?)
        }
        (answer, _) => Ok(answer?),
    }
}

/// Says what becomes of trials that were submitted before what they run was changed.
pub(super) fn describe_earlier(earlier: &EarlierSweep) -> String {
    let EarlierSweep { sweep, unfinished, changed } = earlier;
    let mut names: Vec<String> = changed.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
    if changed.len() > NAMED {
        names.push(format!("{} more", grouped((changed.len() - NAMED) as u64)));
    }
    let changed = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
    let trials = if *unfinished == 1 { "trial has" } else { "trials have" };
    format!(
        "the code has changed{changed} since sweep {sweep}, of which {} {trials} not ended: what is left of it runs the code as \
         it was, this sweep the code as it is; `sweep cancel {sweep}` gives it up",
        grouped(*unfinished)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::SweepId;

    #[test]
    fn what_has_changed_is_named_and_not_all_of_much() {
        let earlier = |changed: usize| EarlierSweep {
            sweep: SweepId(3),
            unfinished: 1,
            changed: (0..changed).map(|n| format!("{n}.py")).collect(),
        };
        let words = describe_earlier(&earlier(1));
        assert!(
            words.starts_with("the code has changed (`0.py`) since sweep 3, of which 1 trial has"),
            "{words}"
        );
        assert!(describe_earlier(&earlier(7)).contains("`4.py`, 2 more)"));
        assert!(describe_earlier(&earlier(0)).starts_with("the code has changed since"));
    }
}
