//! What is worked on: sweeps whose trials share their beginnings.

use crate::harness::Project;

const PROGRAM: &str = include_str!("trial.sh");

/// Jobs below one value of `a` and one seed: a stage of it, and two, four and eight that go on from there.
const JOBS_OF_ROOT: usize = 1 + 2 + 4 + 8;
const EPOCHS_OF_ROOT: u64 = 2 + 2 * 2 + 4 * 3 + 8 * 2;

/// A sweep in a project, ready to be submitted.
pub(crate) struct Work {
    pub(crate) spec: &'static str,
    /// Epochs that are run when each is run once.
    pub(crate) epochs: u64,
    pub(crate) trials: usize,
    pub(crate) jobs: usize,
    /// Jobs that an agent runs at a time.
    pub(crate) slots: usize,
    /// Archives of code that are kept for it.
    pub(crate) archives: usize,
}

/// Writes the spec of about so many short jobs of a program, each tens of milliseconds long.
pub(crate) fn of_a_program(project: &Project, jobs: usize) -> Work {
    let roots = jobs.div_ceil(2 * JOBS_OF_ROOT);
    let choices: Vec<String> = (1..=roots).map(|a| a.to_string()).collect();
    project.write("trial.sh", PROGRAM);
    project.write(
        "chaos.yaml",
        &format!(
            "name: chaos\n\
         command: [sh, trial.sh, '{{{{a}}}}', '{{{{b}}}}', '{{{{c}}}}', '{{{{d}}}}']\n\
         metric: {{name: number, goal: maximize}}\n\
         seeds: 2\n\
         # Trial processes are killed again and again.\n\
         retries: 100\n\
         parameters: {{a: [{}], b: [1, 2], c: [1, 2], d: [1, 2]}}\n\
         stages:\n\
         - {{until: 2, parameters: [a]}}\n\
         - {{until: 4, parameters: [a, b]}}\n\
         - {{until: 7, parameters: [a, b, c]}}\n\
         - {{until: 9}}\n",
            choices.join(", ")
        ),
    );
    let roots = 2 * roots;
    let (jobs, epochs) = (roots * JOBS_OF_ROOT, roots as u64 * EPOCHS_OF_ROOT);
    Work { spec: "chaos.yaml", epochs, trials: roots * 8, jobs, slots: 2, archives: 1 }
}

/// Writes the spec of some trials of the built-in trainer, which keeps its state after every epoch.
pub(crate) fn of_the_trainer(project: &Project) -> Work {
    let asset =
        |name: &str| format!("{}/worker/assets/cifar10-sample-{name}.tar.xz", env!("CARGO_MANIFEST_DIR"));
    let (train, test) = (asset("train"), asset("test"));
    let import = ["data", "import", "cifar10-sample", "--train", &train, "--test", &test];
    project.sweep(&import).exits_with(0);
    project.write(
        "chaos.yaml",
        "name: chaos\n\
         retries: 100\n\
         parameters: {dataset: cifar10-sample, width: 1, epochs: 6, eval_every: 2, lr_steps: [[1], [2]], method: kd,\n\
         \x20 method_start: 1, method_every: 2, loss_weight: [1, 0.5], teacher: [frozen, ema]}\n\
         when: [{if: {teacher: ema}, parameters: {ema_ratio: [0.3]}}]\n",
    );
    // A trunk of one epoch, two branches of one, and four ends of four on each.
    Work { spec: "chaos.yaml", epochs: 1 + 2 + 8 * 4, trials: 8, jobs: 1 + 2 + 8, slots: 1, archives: 0 }
}
