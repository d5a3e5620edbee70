//! Static mode: how an export's jobs become arrays, and what their scripts say.

use std::time::Duration;

use serde::Serialize;

use super::command::{Question, SlurmError, ask};
use super::draft::{Place, option, short_name, warning};
use super::quote::literal_path;
use super::wishes::{Setting, Wishes};
use crate::vocabulary::{SweepId, WorkerId};

/// What Slurm's own default is, where nobody can be asked.
pub const USUAL_MAX_ARRAY_SIZE: u32 = 1001;
const WITHIN: Duration = Duration::from_secs(30);

/// How many tasks an array may have: `MaxArraySize`, by which the highest index is one less.
///
/// # Errors
/// When Slurm doesn't answer, or doesn't say.
pub async fn find_max_array_size() -> Result<u32, SlurmError> {
    let arguments = ["show".to_owned(), "config".to_owned()];
    let answer =
        ask(Question { program: "scontrol", arguments: &arguments, input: "", within: WITHIN }).await?;
    parse_max_array_size(&answer).ok_or_else(|| SlurmError::Refused {
        program: "scontrol",
        words: "`show config` says no `MaxArraySize` from 1 on; this cluster runs no arrays".to_owned(),
    })
}

fn parse_max_array_size(config: &str) -> Option<u32> {
    let mut lines = config.lines().filter_map(|line| line.split_once('='));
    let (_, size) = lines.find(|(key, _)| key.trim() == "MaxArraySize")?;
    size.trim().parse().ok().filter(|size| *size > 0)
}

/// One array: tasks of a depth, from `offset` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Array {
    pub depth: u32,
    pub offset: u32,
    pub tasks: u32,
}

impl Array {
    /// What its script is called.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("array-{}-{}.sh", self.depth, self.offset)
    }
}

/// The arrays for so many tasks of each depth, none larger than Slurm takes.
#[must_use]
pub fn cut_arrays(tasks: &[u32], max_array_size: u32) -> Vec<Array> {
    let size = max_array_size.max(1);
    let of_depth = |(depth, &tasks): (u32, &u32)| {
        let count = tasks.div_ceil(size);
        (0..count).map(move |place| {
            let offset = place * size;
            Array { depth, offset, tasks: size.min(tasks - offset) }
        })
    };
    (0..).zip(tasks).flat_map(of_depth).collect()
}

/// What the arrays of one export are for.
#[derive(Debug, Clone)]
pub struct StaticPurpose {
    pub sweep: SweepId,
    pub name: String,
    pub export: WorkerId,
    /// What the comments of all its jobs in Slurm begin with.
    pub marker: String,
    /// The export's folder.
    pub folder: String,
    pub worker_options: Vec<String>,
}

impl StaticPurpose {
    /// Slurm's comment on an array.
    #[must_use]
    pub fn marker_of(&self, array: Array) -> String {
        format!("{} {}", self.marker, array.file_name())
    }

    fn title(&self) -> String {
        format!("Export {} of sweep {} ({})", self.export, self.sweep, self.name)
    }
}

/// What a template of an array can put in. docs/SLURM.md says the same to users.
#[derive(Debug, Clone, Serialize)]
pub struct StaticScript {
    pub title: String,
    pub sweep: i64,
    pub sweep_name: String,
    pub depth: u32,
    pub offset: u32,
    /// The last task.
    pub last: u32,
    pub options: Vec<Setting>,
    pub output: String,
    pub signal: String,
    pub requeue: bool,
    pub project: String,
    pub state_dir: String,
    pub datasets: String,
    pub setup: Vec<String>,
    pub prefix: Option<String>,
    pub program: String,
    /// The export's folder.
    pub export: String,
    /// Seconds.
    pub grace: u64,
    pub worker_options: Vec<String>,
}

/// What the script says that submits all arrays.
#[derive(Debug, Clone, Serialize)]
pub struct SubmitScript {
    pub title: String,
    /// What the comments of the arrays begin with.
    pub marker: String,
    pub folder: String,
    pub depths: Vec<DepthScripts>,
}

/// The scripts of one depth.
#[derive(Debug, Clone, Serialize)]
pub struct DepthScripts {
    pub scripts: Vec<String>,
    /// Whether others come before.
    pub waits: bool,
    /// Whether others come behind.
    pub is_awaited: bool,
}

/// What the script of one array says.
#[must_use]
pub fn draft_array(place: &Place, purpose: &StaticPurpose, array: Array, wishes: &Wishes) -> StaticScript {
    let StaticPurpose { sweep, name, export, .. } = purpose;
    let at_a_time = wishes.max_running.map(|most| format!("%{most}")).unwrap_or_default();
    let mut options = vec![
        option("job-name", short_name(&format!("sweep-{sweep}-export-{export}-{name}"))),
        option("array", format!("0-{}{at_a_time}", array.tasks - 1)),
        option("comment", purpose.marker_of(array)),
    ];
    options.extend(wishes.sbatch_options());
    StaticScript {
        title: purpose.title(),
        sweep: sweep.0,
        sweep_name: name.clone(),
        depth: array.depth,
        offset: array.offset,
        last: array.offset + array.tasks - 1,
        options,
        output: format!("{}/slurm-%A_%a.log", literal_path(&place.logs)),
        signal: warning(wishes),
        requeue: wishes.may_requeue(),
        project: place.project.clone(),
        state_dir: place.state_folder.clone(),
        datasets: place.datasets.clone(),
        setup: wishes.setup.clone(),
        prefix: wishes.prefix.clone(),
        program: place.worker.clone(),
        export: purpose.folder.clone(),
        grace: wishes.grace().as_secs(),
        worker_options: [wishes.slot_options(), purpose.worker_options.clone()].concat(),
    }
}

/// What the script says that submits them.
#[must_use]
pub fn draft_submission(purpose: &StaticPurpose, arrays: &[Array]) -> SubmitScript {
    let deepest = arrays.last().map_or(0, |array| array.depth);
    let of_depth = arrays.chunk_by(|one, other| one.depth == other.depth);
    let depths = of_depth.filter_map(|arrays| {
        let depth = arrays.first()?.depth;
        let scripts = arrays.iter().map(Array::file_name).collect();
        Some(DepthScripts { scripts, waits: depth > 0, is_awaited: depth < deepest })
    });
    SubmitScript {
        title: purpose.title(),
        marker: purpose.marker.clone(),
        folder: purpose.folder.clone(),
        depths: depths.collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_largest_array_is_what_slurms_configuration_says() {
        let config = "MaxArraySize            = 1001\nMaxDBDMsgs = 20\n";
        assert_eq!(parse_max_array_size(config), Some(1001));
        for none in ["", "MaxArraySize = 0\n", "MaxArraySize = (null)\n"] {
            assert_eq!(parse_max_array_size(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn every_task_is_in_one_array_and_none_is_too_large(
            tasks in prop::collection::vec(0_u32..200, 0..5), size in 1_u32..50
        ) {
            let mut seen: Vec<u32> = vec![0; tasks.len()];
            for array in cut_arrays(&tasks, size) {
                prop_assert!((1..=size).contains(&array.tasks));
                prop_assert_eq!(array.offset, seen[array.depth as usize], "without a gap, in order");
                seen[array.depth as usize] += array.tasks;
            }
            prop_assert_eq!(seen, tasks);
        }
    }
}
