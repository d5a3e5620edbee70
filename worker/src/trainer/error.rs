use sweep::vocabulary::FailureReason;
use tch::TchError;

use super::checkpoint::CheckpointError;

/// `EX_IOERR` of sysexits.h: a file could not be read, which may be another time.
const INPUT_OUTPUT_ERROR: i32 = 74;

/// Why a job of the trainer can't go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The job can't be run as it is written, or not on this node.
    #[error("{0}")]
    BadConfig(String),
    /// The dataset on this node can't be read.
    #[error(transparent)]
    Dataset(#[from] sweep::dataset::DatasetError),
    /// A number that training depends on is infinite or not a number.
    #[error(
        "the {what} of epoch {epoch}{} is not a finite number; a lower `lr` or `loss_weight` may help, and the last \
         reports show where it grew",
        step.map(|step| format!(", step {}", step + 1)).unwrap_or_default()
    )]
    NotFinite {
        what: &'static str,
        epoch: u32,
        /// Counted from 0; `None` at the end of the epoch.
        step: Option<u32>,
    },
    /// The worker gives its trials a GPU, and libtorch can't use it.
    #[error(
        "this trial was given the GPU `{promised}`, and this libtorch can't use it (is it one of NVIDIA's, is the driver there, is \
         libtorch built for it?); a worker with `--gpus none` trains on the CPU, and so does `device: cpu` in the spec"
    )]
    NoUseOfGpu { promised: String },
    /// A device gets a known result wrong.
    #[error("{what} came out wrong: {found} where {expected} is right")]
    Miscalculated { what: String, found: f64, expected: i32 },
    /// A file of weights can't be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("the GPU has too little memory: {0}; a smaller `batch_size` or `width` needs less")]
    GpuOutOfMemory(String),
    #[error("the host has too little memory: {0}")]
    HostOutOfMemory(String),
    /// libtorch refused an operation that a file or a spec had influence on.
    #[error("libtorch: {0}")]
    Torch(String),
    /// A report could not be handed on: whoever asked for it is gone.
    #[error("a report could not be delivered")]
    Report(#[source] std::io::Error),
}

impl TrainError {
    /// What decides whether the job is tried again.
    #[must_use]
    pub fn reason(&self) -> FailureReason {
        match self {
            // Missing or damaged on this node; or its disk is full.
            TrainError::Dataset(_)
            | TrainError::Miscalculated { .. }
            | TrainError::NoUseOfGpu { .. }
            | TrainError::Checkpoint(CheckpointError::Write { .. }) => FailureReason::NodeFault,
            TrainError::Checkpoint(error) if !error.is_final() => FailureReason::Exit(INPUT_OUTPUT_ERROR),
            TrainError::BadConfig(_) | TrainError::Torch(_) | TrainError::Checkpoint(_) => {
                FailureReason::BadConfig
            }
            TrainError::NotFinite { .. } => FailureReason::Nan,
            TrainError::GpuOutOfMemory(_) => FailureReason::GpuOom,
            TrainError::HostOutOfMemory(_) => FailureReason::HostOom,
            TrainError::Report(_) => FailureReason::Preempted,
        }
    }

    /// The error that `message`, a message of libtorch, tells of, when it is about memory.
    ///
    /// libtorch has no codes, only texts: those of its two allocators and of the CUDA libraries.
    #[must_use]
    pub fn out_of_memory(message: &str) -> Option<TrainError> {
        const GPU: [&str; 3] = ["CUDA out of memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED"];
        const HOST: [&str; 3] = ["can't allocate memory", "not enough memory", "std::bad_alloc"];
        // What follows the first line is a C++ backtrace; in a panic's message the line's end is written as two characters.
        let line_from = |text: &&str| {
            let rest = &message[message.find(text)?..];
            rest.split("\\n").next()?.lines().next().map(str::to_owned)
        };
        let gpu = GPU.iter().find_map(line_from).map(TrainError::GpuOutOfMemory);
        gpu.or_else(|| HOST.iter().find_map(line_from).map(TrainError::HostOutOfMemory))
    }
}

impl From<TchError> for TrainError {
    fn from(error: TchError) -> TrainError {
        let message = error.to_string();
        TrainError::out_of_memory(&message)
            .unwrap_or_else(|| TrainError::Torch(message.lines().next().unwrap_or_default().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_runs_out_is_told_from_other_messages_of_libtorch() {
        let torch = |text: &str| TrainError::from(TchError::Torch(text.to_owned())).reason();
        assert_eq!(torch("CUDA out of memory. Tried to allocate 2.00 GiB.\nframe #0"), FailureReason::GpuOom);
        assert_eq!(torch("DefaultCPUAllocator: can't allocate memory: you tried"), FailureReason::HostOom);
        let panic = r#"called `Result::unwrap()` on an `Err` value: Torch("CUDA out of memory. Tried 2 GiB.\nframe #0")"#;
        let error = TrainError::out_of_memory(panic).unwrap();
        assert_eq!(
            error.to_string(),
            "the GPU has too little memory: CUDA out of memory. Tried 2 GiB.; a smaller `batch_size` or `width` needs less"
        );
        assert_eq!(torch("shape '[3]' is invalid for input of size 4"), FailureReason::BadConfig);
    }
}
