//! The agent's hands: turns every source into an event, and every action into a process, a request or a wait.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nvml_wrapper::Nvml;
use sweep::client::{Backoff, Client, ClientError, retry};
use sweep::protocol::http::{
    HeartbeatRequest, Lease, LeaseRequest, LeaseToken, LeaveRequest, RegisterResponse, WriteResponse,
};
use sweep::vocabulary::{KEPT_CODE, NAMED_WEIGHTS, SweepId};
use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout};

use super::event::{Action, Event, Exit, Stop, Timer};
use super::export::Export;
use super::gauge::Gauge;
use super::gpus::{Chosen, Surroundings};
use super::link::Link;
use super::options::Options;
use super::outbox::Write;
use super::registration::Registration;
use super::remote::{self, Remote, Sharing};
use super::slot::{self, Assignment, Place};
use super::slots::{SlotId, SlotKind};
use super::spawn::Inheritance;
use super::state::{Agent, Settings, Until};
use super::{AgentError, Inbox, code, gpu_test, gpus, identity, self_test, spool};

/// The files of the state folder in which a coordinator says where it is, and what it wants to be shown.
const ANNOUNCEMENT: &str = "coordinator.json";
const TOKEN: &str = "token";
/// How long the coordinator may let a request for jobs wait; shorter than what proxies usually bear.
const LEASE_WAIT: Duration = Duration::from_secs(20);
/// Events that wait for the agent; then trials wait, so that a flood of reports stays in the processes that make it.
const INBOX_CAPACITY: usize = 1024;
/// How often the parent is looked for.
const PARENT_PERIOD: Duration = Duration::from_millis(250);
/// No heartbeat is more frequent, whatever the coordinator asks for.
const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(50);
/// A coordinator that has not started yet is waited for about a minute.
const REGISTER_ATTEMPTS: u32 = 20;
/// One that is restarted or unreachable for about an hour; results of trials that ended meanwhile wait as long.
const WORK_ATTEMPTS: u32 = 300;
/// What trials print is worth less than the results that wait behind it: about ten seconds.
const LOG_ATTEMPTS: u32 = 6;
/// A process that was killed is gone at once, unless the kernel itself is stuck in it.
const LONGEST_CLOSING: Duration = Duration::from_secs(2);
/// Goodbye is a courtesy.
const LEAVE_ATTEMPTS: u32 = 3;

/// Works until stopped, or until nothing is left where the options say so.
///
/// Runs on a current-thread runtime on the main thread (see `process`).
///
/// # Errors
/// The agent can't be set up, or the coordinator is gone for good or refuses to work with it.
pub(crate) async fn run(options: &Options) -> Result<Exit, AgentError> {
    let started = Instant::now();
    let parent = rustix::process::getppid();
    let export = options.export.as_deref().zip(options.task);
    let export = export.map(|(folder, task)| Export::open(folder, task, &options.state_dir)).transpose()?;
    let (mut place, _spool) = lay_out(options)?;
    let client = match export {
        Some(export) => {
            place.artifacts = export.artifacts();
            Link::Export(Arc::new(export))
        }
        None => Link::Coordinator(connect(options)?),
    };
    self_test::examine(place.folders()).await.map_err(AgentError::Unfit)?;
    let place = Arc::new(place);
    let (slot_kind, slots, gpus) = choose_slots(options, &place).await?;
    let mut place = Arc::into_inner(place).expect("whoever examined a GPU is done");
    // What it took to get here counts, too.
    let limit = options.time_limit.map(|limit| started + limit);
    let ends_at =
        options.slurm.time_left().await.map(|left| Instant::now() + left).into_iter().chain(limit).min();
    let seed = u64::from(std::process::id());
    let mut signals = Signals::catch().map_err(AgentError::Signals)?;
    let (registration, registered) = tokio::select! {
        registered = register(&client, seed, slots, options) => registered?,
        // There is nothing to give back yet.
        _asked = signals.next() => return Ok(Exit::Clean),
    };
    place.remote = tokio::select! {
        remote = reach_files(&client, seed, &mut place) => remote?,
        _asked = signals.next() => return Ok(Exit::Clean),
    };
    let place = Arc::new(place);

    let mut agent = Agent::new(Settings {
        slot_kind,
        slots,
        until: Until {
            is_drained: options.until_drained || options.export.is_some(),
            jobs: options.max_jobs,
            idle: options.idle_timeout,
            time: ends_at.map(|end| end.saturating_duration_since(Instant::now())),
        },
        grace: Duration::from_secs(options.grace),
        heartbeat: Duration::from_millis(registered.heartbeat_millis).max(SHORTEST_HEARTBEAT),
    });
    let (inbox, mut events) = mpsc::channel(INBOX_CAPACITY);
    let mut shell = Shell {
        client,
        registration: Arc::new(registration),
        sweep: options.sweep,
        seed,
        inbox: inbox.clone(),
        tasks: JoinSet::new(),
        asking: None,
        slots: Vec::new(),
        slot_tasks: JoinSet::new(),
        gauge: Gauge::new(&gpus),
        place,
        problem: None,
        gpus,
        stops: BTreeMap::new(),
        counts_jobs: options.tally,
    };
    shell.open_slots(slots);
    shell.tasks.spawn(spool::keep_fresh(shell.place.spool.clone()));
    shell.tasks.spawn(signals.forward(inbox.clone()));
    if let Some(remote) = shell.place.remote.clone() {
        shell.tasks.spawn(remote.keep_tidy());
    }
    shell.tasks.spawn(code::clear_abandoned(shell.place.clone()));
    if options.exit_with_parent {
        shell.tasks.spawn(watch_parent(parent, inbox));
    }
    tracing::info!(worker = registered.worker.0, slots = shell.slots.len(), "ready");

    let mut next = agent.step(Event::Started);
    loop {
        for action in next {
            if let ControlFlow::Break(exit) = shell.perform(action) {
                // Nobody listens any more: whoever has something to say must not wait for that.
                drop(events);
                shell.close_slots().await;
                return Ok(exit);
            }
        }
        next = agent.step(shell.next_event(&mut events).await?);
    }
}

fn connect(options: &Options) -> Result<Client, AgentError> {
    let read = |path: PathBuf| match std::fs::read_to_string(&path) {
        Ok(token) => Ok(token),
        Err(source) => Err(AgentError::Token { path, source }),
    };
    let token = match (&options.token_file, &options.token) {
        (Some(path), _) => read(path.clone())?,
        (None, Some(token)) => token.clone(),
        (None, None) => read(options.state_dir.join(TOKEN))?,
    };
    let client = match &options.coordinator {
        Some(url) => Client::new(url, token.trim()),
        None => Client::following(&options.state_dir.join(ANNOUNCEMENT), &identity::own_host(), token.trim()),
    };
    client.map_err(|source| AgentError::Coordinator { what: "use the coordinator's address", source })
}

/// Makes the folders. The spool is this agent's own and goes with it.
fn lay_out(options: &Options) -> Result<(Place, TempDir), AgentError> {
    let state = &options.state_dir;
    let fail = |source| AgentError::StateFolder { path: state.clone(), source };
    let state = std::path::absolute(state).map_err(fail)?;
    let [logs, spools, artifacts, attempts] =
        ["logs", "spool", "artifacts", "attempts"].map(|name| state.join(name));
    for folder in [&logs, &artifacts] {
        std::fs::create_dir_all(folder).map_err(fail)?;
    }
    let spool = spool::open(&spools).map_err(fail)?;
    let place = Place {
        logs,
        spool: spool.path().to_owned(),
        datasets: options.datasets.clone(),
        artifacts,
        remote: None,
        attempts,
        trainer: find_trainer(options.trainer.as_deref()),
        grace: Duration::from_secs(options.grace),
        ends_with_its_trials: options.slurm.task().is_some(),
        memory: Mutex::default(),
        inheritance: Inheritance::new().map_err(fail)?,
    };
    Ok((place, spool))
}

/// Where the coordinator's files are not this folder's own, the way to them; then copies lie in a folder of their own.
async fn reach_files(client: &Link, seed: u64, place: &mut Place) -> Result<Option<Arc<Remote>>, AgentError> {
    let Link::Coordinator(client) = client else { return Ok(None) };
    // Nobody else has this spool, wherever it is.
    let own = format!("{} {}", identity::own_host(), place.spool.display());
    let sharing = remote::probe(client, &place.artifacts, &own, &backoff(seed, REGISTER_ATTEMPTS)).await?;
    if sharing == Sharing::Shared {
        return Ok(None);
    }
    let folder = place.artifacts.with_file_name("cache");
    let mut made =
        [NAMED_WEIGHTS, KEPT_CODE].into_iter().map(|name| std::fs::create_dir_all(folder.join(name)));
    made.try_for_each(|made| made)
        .map_err(|source| AgentError::StateFolder { path: folder.clone(), source })?;
    tracing::info!("the coordinator keeps its files elsewhere: checkpoints and logs are sent to it");
    place.artifacts.clone_from(&folder);
    Ok(Some(Arc::new(Remote::new(client.clone(), backoff(seed, WORK_ATTEMPTS), folder))))
}

fn find_trainer(named: Option<&Path>) -> PathBuf {
    if let Some(path) = named {
        return path.to_owned();
    }
    let beside = std::env::current_exe().ok().map(|program| program.with_file_name("sweep-trainer"));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from("sweep-trainer"))
}

/// What the slots are and how many, and the GPUs that they are on, each as a value of `CUDA_VISIBLE_DEVICES`.
async fn choose_slots(
    options: &Options,
    place: &Arc<Place>,
) -> Result<(SlotKind, usize, Vec<String>), AgentError> {
    if let Some(count) = options.cpu_slots {
        return Ok((SlotKind::Cpu, count as usize, Vec::new()));
    }
    let around = Surroundings {
        cuda: options.cuda_visible_devices.as_deref(),
        cuda_order: options.cuda_device_order.as_deref(),
        slurm: options.slurm_step_gpus.as_deref().or(options.slurm_job_gpus.as_deref()),
        rocr: options.rocr_visible_devices.as_deref(),
    };
    let gpus = match gpus::choose(&options.gpus, around, Nvml::init)? {
        Chosen::Seen(gpus) => gpu_test::keep_sound(place, gpus).await?,
        Chosen::ByWord(gpus) => {
            if !gpus.is_empty() {
                tracing::warn!(
                    "NVIDIA's driver is not there: GPUs {} are used by their names, untested, and for programs only; \
                     `--gpus none` works on the CPU",
                    gpus.join(",")
                );
            }
            gpus
        }
    };
    if gpus.is_empty() {
        let there = std::thread::available_parallelism().map_or(1, usize::from);
        return Ok((SlotKind::Cpu, options.slurm.cpus().map_or(there, |own| own.min(there)), gpus));
    }
    Ok((SlotKind::Gpu { gpus: gpus.len() }, gpus.len() * options.slots_per_gpu as usize, gpus))
}

async fn register(
    client: &Link,
    seed: u64,
    slots: usize,
    options: &Options,
) -> Result<(Registration, RegisterResponse), AgentError> {
    let request = identity::introduce(u32::try_from(slots).unwrap_or(u32::MAX), options.slurm.task());
    // One that was not named may be about to move, or waits itself to be started.
    let attempts = if options.coordinator.is_some() { REGISTER_ATTEMPTS } else { WORK_ATTEMPTS };
    let registered = Registration::begin(client, request, &backoff(seed, attempts)).await;
    registered.map_err(|source| AgentError::Coordinator { what: "register with the coordinator", source })
}

fn backoff(seed: u64, attempts: u32) -> Backoff {
    let longest = if attempts > REGISTER_ATTEMPTS { 15 } else { 4 };
    Backoff { first: Duration::from_millis(250), longest: Duration::from_secs(longest), attempts, seed }
}

struct Shell {
    client: Link,
    registration: Arc<Registration>,
    sweep: Option<SweepId>,
    seed: u64,
    inbox: Inbox,
    /// Everything that runs beside the loop; it ends with the shell, and the trial processes with it.
    tasks: JoinSet<()>,
    asking: Option<AbortHandle>,
    slots: Vec<mpsc::Sender<Assignment>>,
    /// The slots themselves, apart from the rest since they are waited for at the end.
    slot_tasks: JoinSet<()>,
    /// What the slots are on; none where they are CPUs.
    gpus: Vec<String>,
    gauge: Gauge,
    place: Arc<Place>,
    /// Why no jobs are taken; goes with every heartbeat.
    problem: Option<String>,
    stops: BTreeMap<LeaseToken, watch::Sender<Option<Stop>>>,
    /// Whether jobs are counted on standard output.
    counts_jobs: bool,
}

impl Shell {
    fn open_slots(&mut self, slots: usize) {
        for _ in 0..slots {
            let (jobs, assigned) = mpsc::channel(1);
            self.slot_tasks.spawn(slot::work(self.place.clone(), assigned, self.inbox.clone()));
            self.slots.push(jobs);
        }
    }

    /// Lets the slots end their warm trainers, so that nothing of them is left when the agent is gone. What doesn't end in
    /// time, a trial that can't even be killed, is left to the kernel.
    async fn close_slots(mut self) {
        self.slots.clear();
        let closed = async { while self.slot_tasks.join_next().await.is_some() {} };
        if timeout(LONGEST_CLOSING, closed).await.is_err() {
            tracing::warn!("a trial process does not end; the agent leaves it behind");
        }
    }

    async fn next_event(
        &mut self,
        events: &mut mpsc::Receiver<Result<Event, AgentError>>,
    ) -> Result<Event, AgentError> {
        let event = loop {
            let ended = tokio::select! {
                event = events.recv() => break event.expect("the shell itself holds a sender")?,
                Some(ended) = self.tasks.join_next() => ended,
                Some(ended) = self.slot_tasks.join_next() => ended,
            };
            // A panic of ours must not leave a slot busy for ever.
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        };
        if let Event::Ended { token, .. } = &event {
            self.stops.remove(token);
        }
        Ok(event)
    }

    fn perform(&mut self, action: Action) -> ControlFlow<Exit> {
        match action {
            Action::Ask { most } => self.ask(most),
            Action::AbandonAsking => {
                if let Some(asking) = self.asking.take() {
                    asking.abort();
                }
            }
            Action::Start { lease, slots } => self.start(*lease, &slots),
            Action::Stop { token, how } => {
                if let Some(stop) = self.stops.get(&token) {
                    stop.send_replace(Some(how));
                }
            }
            Action::Write(write) => self.write(write),
            Action::Beat(leases) => self.beat(leases),
            Action::Examine => self.examine(),
            Action::ComplainOf { problem, pause } => {
                tracing::error!(pause_seconds = pause.as_secs(), "takes no jobs for a while: {problem}");
                self.problem = Some(problem);
            }
            Action::Recover => {
                tracing::info!("takes jobs again: one has gone well");
                self.problem = None;
            }
            Action::Wait(timer, time) => self.wait(timer, time),
            Action::Announce(why) => tracing::info!("{why}"),
            Action::Leave => self.leave(),
            Action::Exit(exit) => return ControlFlow::Break(exit),
        }
        ControlFlow::Continue(())
    }

    /// The first of the slots does the work; the others stand for the CPUs or GPUs that it uses beside.
    fn start(&mut self, lease: Lease, slots: &[SlotId]) {
        if self.counts_jobs {
            // It fails where nobody counts any more.
            let _ = std::io::stdout().write_all(b".").and_then(|()| std::io::stdout().flush());
        }
        let visible_gpus = if lease.gpus == Some(0) { String::new() } else { self.gpus_of(slots) };
        let (stop, stopped) = watch::channel(None);
        self.stops.insert(lease.token, stop);
        let slot =
            slots.first().and_then(|slot| self.slots.get(slot.0)).expect("a job has a slot that exists");
        let assigned = slot.try_send(Assignment { lease, visible_gpus, stop: stopped });
        assert!(assigned.is_ok(), "a job was given to a slot that is not free");
    }

    /// The GPUs that slots are on, as a value of `CUDA_VISIBLE_DEVICES`.
    fn gpus_of(&self, slots: &[SlotId]) -> String {
        let gpus = slots.iter().filter_map(|slot| self.gpus.get(slot.gpu(self.gpus.len())));
        gpus.map(String::as_str).collect::<Vec<_>>().join(",")
    }

    fn ask(&mut self, most: usize) {
        let request = LeaseRequest {
            worker: self.registration.worker(),
            sweep: self.sweep,
            most: u32::try_from(most).unwrap_or(u32::MAX),
            wait_millis: LEASE_WAIT.as_millis() as u64,
        };
        let (client, registration) = (self.client.clone(), self.registration.clone());
        let backoff = backoff(self.seed, WORK_ATTEMPTS);
        let asking = self.spawn("lease jobs", async move {
            registration.lease(&client, request, &backoff).await.map(Event::Leased)
        });
        self.asking = Some(asking);
    }

    fn write(&mut self, write: Write) {
        let (client, backoff) = (self.client.clone(), backoff(self.seed, WORK_ATTEMPTS));
        self.spawn("deliver results", async move {
            let answer = match write {
                Write::Reports(request) => {
                    retry(&backoff, "deliver reports", || client.report(&request)).await
                }
                Write::Outcomes(request) => {
                    retry(&backoff, "deliver outcomes", || client.finish(&request)).await
                }
                Write::Logs(request) => {
                    let hasty = Backoff { attempts: LOG_ATTEMPTS, ..backoff };
                    let sent = retry(&hasty, "deliver logs", || client.send_logs(&request)).await;
                    if let Err(error) = sent {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "a part of some logs is lost"
                        );
                    }
                    Ok(WriteResponse::default())
                }
            };
            answer.map(Event::Written)
        });
    }

    /// Not repeated with the same leases: a missed heartbeat is followed soon by one that knows the newest.
    fn beat(&mut self, leases: Vec<LeaseToken>) {
        let (client, gauge, worker) = (self.client.clone(), self.gauge.clone(), self.registration.worker());
        let problem = self.problem.clone();
        self.spawn("send a heartbeat", async move {
            let request = HeartbeatRequest { worker, leases, node: gauge.read().await, problem };
            match client.heartbeat(&request).await {
                Ok(response) => Ok(Event::Beat(response)),
                Err(error) if error.is_transient() => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a heartbeat was missed");
                    Ok(Event::BeatMissed)
                }
                Err(error) => Err(error),
            }
        });
    }

    fn examine(&mut self) {
        let place = self.place.clone();
        let examined = async move { Ok(Event::Examined(self_test::examine(place.folders()).await)) };
        self.spawn("examine the node", examined);
    }

    fn leave(&mut self) {
        let (client, backoff) = (self.client.clone(), backoff(self.seed, LEAVE_ATTEMPTS));
        let request = LeaveRequest { worker: self.registration.worker() };
        self.spawn("leave", async move {
            if let Err(error) = retry(&backoff, "leave", || client.leave(&request)).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "left without a goodbye");
            }
            Ok(Event::Left)
        });
    }

    fn wait(&mut self, timer: Timer, time: Duration) {
        self.spawn("wait", async move {
            tokio::time::sleep(time).await;
            Ok(Event::Due(timer))
        });
    }

    /// Does something beside the loop, which is told what came of it.
    fn spawn(
        &mut self,
        what: &'static str,
        call: impl Future<Output = Result<Event, ClientError>> + Send + 'static,
    ) -> AbortHandle {
        let inbox = self.inbox.clone();
        self.tasks.spawn(async move {
            let result = call.await.map_err(|source| AgentError::Coordinator { what, source });
            // It fails only when the shell is gone.
            let _ = inbox.send(result).await;
        })
    }
}

/// The signals that ask an agent to stop: Ctrl-C, a scheduler's end, and Slurm's warning before it.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    user: Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    /// The next one, as an event.
    async fn next(&mut self) -> Event {
        tokio::select! {
            _ = self.interrupt.recv() => Event::StopAsked,
            _ = self.terminate.recv() => Event::StopAsked,
            _ = self.user.recv() => Event::Warned,
        }
    }

    async fn forward(mut self, inbox: Inbox) {
        loop {
            let asked = self.next().await;
            if inbox.send(Ok(asked)).await.is_err() {
                return;
            }
        }
    }
}

/// Ends when the parent does. Looking for it beats a death signal, which comes with the parent's *thread*.
async fn watch_parent(parent: Option<rustix::process::Pid>, inbox: Inbox) {
    while rustix::process::getppid() == parent {
        tokio::time::sleep(PARENT_PERIOD).await;
    }
    // It fails only when the shell is gone.
    let _ = inbox.send(Ok(Event::ParentGone)).await;
}
