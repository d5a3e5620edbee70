//! What the agent's mind ([`super::state`]) takes in and gives out. Pure values.

use std::time::Duration;

use sweep::protocol::http::{HeartbeatResponse, Lease, LeaseResponse, LeaseToken, Report, WriteResponse};
use sweep::protocol::trial::{Checkpoint, TrialRecord};
use sweep::vocabulary::FailureReason;

use super::outbox::Write;
use super::slots::SlotId;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// The agent is registered.
    Started,
    /// The coordinator answered [`Action::Ask`].
    Leased(LeaseResponse),
    /// A trial process reported.
    Reported(Report),
    /// A trial has printed something, and its coordinator doesn't see the log.
    Printed { token: LeaseToken, text: String },
    /// A trial process has ended, and its slots are free; what it leaves is on its way, and the job's end comes after it.
    Vacated { token: LeaseToken },
    /// A trial process has ended its job.
    Ended { token: LeaseToken, end: TrialEnd, wall: Duration },
    /// The coordinator answered [`Action::Write`].
    Written(WriteResponse),
    /// The coordinator answered [`Action::Beat`].
    Beat(HeartbeatResponse),
    /// It didn't.
    BeatMissed,
    /// The node was examined; what is wrong with it.
    Examined(Result<(), String>),
    /// A wait is over.
    Due(Timer),
    /// A signal asked the agent to stop.
    StopAsked,
    /// A scheduler's signal said that the time is nearly over. Said again it is not more urgent.
    Warned,
    /// The process for which the agent works is gone.
    ParentGone,
    /// The coordinator knows that the agent leaves, or can't be told.
    Left,
}

/// How a trial process ended its job, before anyone has judged it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TrialEnd {
    /// The built-in trainer said that the job is done.
    Trained(TrialRecord),
    /// The built-in trainer was asked to stop and did, where it could with a checkpoint.
    Stopped(Option<Checkpoint>),
    /// A program ended with exit code 0.
    ExitedCleanly,
    /// Anything else.
    Failed { reason: FailureReason, message: String, log_tail: String },
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Ask for at most so many jobs.
    Ask { most: usize },
    /// Give up the request for jobs that is under way.
    AbandonAsking,
    /// Start a job on slots that are free.
    Start { lease: Box<Lease>, slots: Vec<SlotId> },
    /// Tell a trial's process group to end.
    Stop { token: LeaseToken, how: Stop },
    /// Write.
    Write(Write),
    /// Say that these leases are held.
    Beat(Vec<LeaseToken>),
    /// Examine the node.
    Examine,
    /// Let everybody know that the agent takes no jobs for so long, since it isn't well.
    ComplainOf { problem: String, pause: Duration },
    /// Let everybody know that it is well again.
    Recover,
    /// Say so when this time is over.
    Wait(Timer, Duration),
    /// Let whoever reads the agent's log know why it takes no more jobs.
    Announce(Parting),
    /// Say goodbye to the coordinator.
    Leave,
    /// End the agent; whatever trial still runs is killed.
    Exit(Exit),
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    AskAgain,
    Heartbeat,
    /// Ends have waited for others to travel with.
    Gathering,
    /// Jobs that were leased ahead had this long to start.
    Surplus,
    /// It is time to look whether anything is at work.
    Idle,
    /// It is time to look how much of the agent's time is left.
    Look,
    /// A pause for the node's health is over.
    Pause,
    /// The agent's time is nearly over.
    Limit,
    /// Trials had this long to end by themselves.
    Grace,
    /// The agent has had its time to leave in order.
    Farewell,
}

/// How a trial process is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    Terminate,
    Kill,
}

/// Why an agent takes no more jobs, by itself or told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parting {
    /// There are none.
    Drained,
    /// It has run as many as it was to run.
    Enough,
    /// It had nothing to do for as long as it was to wait.
    Idle,
    /// What began now would come to nothing before its time is over.
    TooLate,
    /// Its time is over but for the grace.
    Limit,
    /// A scheduler said so.
    Warned,
    /// A signal said so.
    Asked,
}

impl std::fmt::Display for Parting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Parting::Drained => "leaves: nothing is left to do",
            Parting::Enough => "leaves: as many jobs have run as were to run",
            Parting::Idle => "leaves: there was nothing to do for so long",
            Parting::TooLate => "leaves: too little of its time is left for another job to come to anything",
            Parting::Limit => "takes no more jobs: its time is nearly over; trials are asked to end",
            Parting::Warned => {
                "takes no more jobs: it was warned that its time is nearly over; trials are asked to end"
            }
            Parting::Asked => "takes no more jobs: it was asked to stop; trials are asked to end",
        })
    }
}

/// How the agent ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Every lease has ended, and the coordinator knows.
    Clean,
    /// The coordinator could not be told of every end in time; those leases expire.
    Unreleased,
}
