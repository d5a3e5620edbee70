//! Slurm: scripts from templates whose jobs are workers, their submission, and what Slurm says of them.
//!
//! Slurm is asked only through its own programs, each within a time; where it doesn't answer nothing changes. What runs
//! where is the job table's business and never Slurm's: its jobs are workers, no matter how often it starts them.
//! Start reading at `wishes.rs` (what a user asks for) and `script.rs` (how it becomes a script).

mod account;
mod arrays;
mod command;
mod draft;
mod profile;
mod queue;
mod quote;
mod script;
mod submit;
mod view;
mod watch;
mod wishes;

pub use arrays::{
    Array, StaticPurpose, USUAL_MAX_ARRAY_SIZE, cut_arrays, draft_array, draft_submission,
    find_max_array_size,
};
pub use command::SlurmError;
pub use draft::{Place, Purpose, draft_coordinator, draft_workers};
pub use profile::{ProfileError, read_profile};
pub use queue::{QueuedTask, Stage, list_queue};
pub use quote::OptionError;
pub use script::{CoordinatorScript, ScriptError, TEMPLATES, Template, WorkerScript, render};
pub use submit::{Submission, SubmitError, SubmittedJob, cancel, dismiss, new_marker, submit};
pub use view::{JobView, LostWorker, SlurmView, look, newest_unfinished};
pub use watch::watch_workers;
pub use wishes::{Count, Setting, WishError, Wishes};
