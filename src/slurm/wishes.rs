//! What a user asks of Slurm: the same settings on the command line and in a profile of `sweep.toml`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::vocabulary::{parse_duration, parse_slurm_time};

/// Slurm looks this often whether a job's time is nearly over, so its signal comes up to that much early.
pub(super) const SLURM_TICK: Duration = Duration::from_secs(30);
/// How long trials have to write a checkpoint, unless told otherwise and where the time limit is not too short for it.
const GRACE: Duration = Duration::from_secs(120);
/// Of a short time limit no larger part is kept for that.
const SMALLEST_SHARE: u32 = 10;
/// A worker with nothing to do for so long leaves; its node is worth more to somebody else.
const IDLE: &str = "10m";

/// Settings of one profile, or those of the command line. What is left out is Slurm's or the worker's own default.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[serde(expecting = "a profile: settings stand below `[slurm.default]` or `[slurm.NAME]`")]
pub struct Wishes {
    /// How many workers: tasks of the array, whatever number of trials there is.
    #[arg(long, value_name = "N")]
    pub workers: Option<Count<1_000_000>>,
    /// How many of them may run at a time.
    #[arg(long, value_name = "K")]
    pub max_running: Option<Count<1_000_000>>,
    /// How long each may run: as Slurm writes it (`3:30:00`, `1-12`, minutes), or `3h30m`.
    #[arg(long, value_name = "TIME")]
    pub time: Option<Time>,
    /// What each asks for beside CPUs and memory, such as `gpu:1`.
    #[arg(long, value_name = "LIST")]
    pub gres: Option<String>,
    /// GPUs of each node, such as `4` or `a100:4`.
    #[arg(long, value_name = "[TYPE:]N")]
    pub gpus_per_node: Option<Text>,
    /// CPUs of each worker.
    #[arg(long, value_name = "N")]
    pub cpus_per_task: Option<Count<65_536>>,
    /// Memory of each node, such as `8G`.
    #[arg(long, value_name = "SIZE")]
    pub mem: Option<Text>,
    /// Where they run.
    #[arg(long, short, value_name = "NAME")]
    pub partition: Option<String>,
    /// Who pays.
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,
    /// Quality of service.
    #[arg(long, value_name = "NAME")]
    pub qos: Option<String>,
    /// What their nodes must have.
    #[arg(long, value_name = "FEATURES")]
    pub constraint: Option<String>,
    /// Whole nodes, all GPUs and CPUs of them.
    #[arg(long)]
    pub exclusive: bool,
    /// Nodes of each task of the array, with a worker on each.
    #[arg(long, value_name = "N")]
    pub nodes: Option<Count<65_536>>,
    /// Any other option of sbatch, such as `mail-type=END`; may be repeated.
    #[arg(long = "set", value_name = "KEY[=VALUE]")]
    #[serde(deserialize_with = "read_settings")]
    pub set: Vec<Setting>,
    /// A line of shell before the worker, such as `module load cuda`; may be repeated.
    #[arg(long, value_name = "LINE")]
    pub setup: Vec<String>,
    /// What stands before the worker's command, as shell text: `apptainer exec --nv image.sif`.
    #[arg(long, value_name = "COMMAND")]
    pub prefix: Option<String>,
    /// Jobs that a worker runs at a time on each GPU; one unless given.
    #[arg(long, value_name = "K", conflicts_with = "cpu_slots")]
    pub slots_per_gpu: Option<Count<64>>,
    /// Jobs that a worker runs at a time on CPUs, using no GPU; one per CPU of its own where there is no GPU.
    #[arg(long, value_name = "N")]
    pub cpu_slots: Option<Count<1024>>,
    /// A worker leaves when it had nothing to do for so long; 10m unless given.
    #[arg(long, value_name = "TIME")]
    pub idle_timeout: Option<Span>,
    /// How long trials have at the end of a worker's time to write a checkpoint; 120, or a tenth of a short time limit, unless
    /// given.
    #[arg(long, value_name = "SECONDS")]
    pub grace: Option<Count<86_400>>,
}

/// Settings that contradict each other, or that are not a user's to choose.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WishError {
    #[error("`--set {key}` is not possible: {why}")]
    NotSettable { key: String, why: &'static str },
    #[error("`{option}` must be one line: `{}`", line.escape_debug())]
    ManyLines { option: &'static str, line: String },
    #[error("`{option}` is empty; leave it out, and Slurm chooses")]
    Empty { option: &'static str },
    #[error("`slots-per-gpu` and `cpu-slots` exclude each other; leave one of them out")]
    BothSlots,
    #[error(
        "a time limit of {} s leaves no time to work: Slurm's warning comes up to a minute before the {grace} s of \
         `--grace`; raise `--time` or lower `--grace`", limit.as_secs()
    )]
    NoTime { limit: Duration, grace: u32 },
}

impl Wishes {
    /// These settings, and where they leave something open those of `profile`.
    #[must_use]
    pub fn over(self, profile: Wishes) -> Wishes {
        // One way of choosing slots excludes the other one.
        let has_slots = self.slots_per_gpu.is_some() || self.cpu_slots.is_some();
        let Wishes { slots_per_gpu, cpu_slots, .. } = *if has_slots { &self } else { &profile };
        // What is typed comes first, also where the profile says the same as an option of sbatch.
        let typed = Wishes { set: Vec::new(), ..self.clone() }.sbatch_options();
        let of_profile = profile.set.into_iter().filter(|set| typed.iter().all(|typed| typed.key != set.key));
        let set: BTreeMap<String, Option<String>> =
            of_profile.chain(self.set).map(|Setting { key, value }| (key, value)).collect();
        Wishes {
            slots_per_gpu,
            cpu_slots,
            workers: self.workers.or(profile.workers),
            max_running: self.max_running.or(profile.max_running),
            time: self.time.or(profile.time),
            gres: self.gres.or(profile.gres),
            gpus_per_node: self.gpus_per_node.or(profile.gpus_per_node),
            cpus_per_task: self.cpus_per_task.or(profile.cpus_per_task),
            mem: self.mem.or(profile.mem),
            partition: self.partition.or(profile.partition),
            account: self.account.or(profile.account),
            qos: self.qos.or(profile.qos),
            constraint: self.constraint.or(profile.constraint),
            exclusive: self.exclusive || profile.exclusive,
            nodes: self.nodes.or(profile.nodes),
            set: set.into_iter().map(|(key, value)| Setting { key, value }).collect(),
            setup: profile.setup.into_iter().chain(self.setup).collect(),
            prefix: self.prefix.or(profile.prefix),
            idle_timeout: self.idle_timeout.or(profile.idle_timeout),
            grace: self.grace.or(profile.grace),
        }
    }

    /// What a coordinator's job has in common with its workers' where nothing else is said: where it may run, on whose account,
    /// and how it is set up.
    #[must_use]
    pub fn for_coordinator(&self) -> Wishes {
        let Wishes { time, partition, account, qos, setup, prefix, .. } = self.clone();
        Wishes { time, partition, account, qos, setup, prefix, ..Wishes::default() }
    }

    /// # Errors
    /// What is wrong with the settings as a whole.
    pub fn check(&self) -> Result<(), WishError> {
        for Setting { key, value } in &self.set {
            // By habit people say that there is one.
            if key == "ntasks" && value.as_deref() == Some("1") {
                continue;
            }
            if let Some((_, why)) = RESERVED.iter().find(|(names, _)| names.contains(&key.as_str())) {
                return Err(WishError::NotSettable { key: key.clone(), why });
            }
        }
        let prefix = self.prefix.iter().map(|line| ("--prefix", line));
        for (option, line) in self.setup.iter().map(|line| ("--setup", line)).chain(prefix) {
            if line.contains(['\n', '\r', '\0']) {
                return Err(WishError::ManyLines { option, line: line.clone() });
            }
        }
        let texts = [
            ("gres", self.gres.as_ref()),
            ("gpus-per-node", self.gpus_per_node.as_ref().map(|Text(text)| text)),
            ("mem", self.mem.as_ref().map(|Text(text)| text)),
            ("partition", self.partition.as_ref()),
            ("account", self.account.as_ref()),
            ("qos", self.qos.as_ref()),
            ("constraint", self.constraint.as_ref()),
        ];
        if let Some((option, _)) =
            texts.into_iter().find(|(_, text)| text.is_some_and(|text| text.trim().is_empty()))
        {
            return Err(WishError::Empty { option });
        }
        // Of the command line clap has refused them; a profile may have both.
        if self.slots_per_gpu.is_some() && self.cpu_slots.is_some() {
            return Err(WishError::BothSlots);
        }
        match &self.time {
            Some(Time(limit)) if *limit <= self.grace() + SLURM_TICK => {
                Err(WishError::NoTime { limit: *limit, grace: self.grace_seconds() })
            }
            _ => Ok(()),
        }
    }

    /// How long trials have to write a checkpoint.
    #[must_use]
    pub fn grace(&self) -> Duration {
        match (self.grace, &self.time) {
            (Some(seconds), _) => Duration::from_secs(seconds.get().into()),
            (None, Some(Time(limit))) => GRACE.min(*limit / SMALLEST_SHARE),
            (None, None) => GRACE,
        }
    }

    fn grace_seconds(&self) -> u32 {
        u32::try_from(self.grace().as_secs()).unwrap_or(u32::MAX)
    }

    /// When a worker leaves that has nothing to do.
    #[must_use]
    pub fn idle_timeout(&self) -> &str {
        self.idle_timeout.as_ref().map_or(IDLE, |Span(text)| text)
    }

    /// The worker's options for its slots.
    pub(super) fn slot_options(&self) -> Vec<String> {
        let chosen = [
            ("--slots-per-gpu", self.slots_per_gpu.map(Count::get)),
            ("--cpu-slots", self.cpu_slots.map(Count::get)),
        ];
        let given =
            chosen.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?.to_string()]));
        given.flatten().collect()
    }

    /// Whether Slurm may start a job again, as the script says unless the user says otherwise.
    #[must_use]
    pub fn may_requeue(&self) -> bool {
        self.set.iter().all(|set| set.key != "no-requeue")
    }

    /// sbatch's options for all this, in a fixed order.
    #[must_use]
    pub fn sbatch_options(&self) -> Vec<Setting> {
        let named = [
            ("partition", self.partition.clone()),
            ("account", self.account.clone()),
            ("qos", self.qos.clone()),
            ("constraint", self.constraint.clone()),
            ("time", self.time.as_ref().map(ToString::to_string)),
            ("nodes", self.nodes.map(|nodes| nodes.to_string())),
            ("ntasks-per-node", self.nodes.map(|_| "1".to_owned())),
            ("gres", self.gres.clone()),
            ("gpus-per-node", self.gpus_per_node.as_ref().map(|Text(text)| text.clone())),
            ("cpus-per-task", self.cpus_per_task.map(|cpus| cpus.to_string())),
            ("mem", self.mem.as_ref().map(|Text(text)| text.clone())),
        ];
        let with_value = |(key, value): (&str, Option<String>)| {
            value.map(|value| Setting { key: key.to_owned(), value: Some(value) })
        };
        let mut options: Vec<Setting> = named.into_iter().filter_map(with_value).collect();
        if self.exclusive {
            options.push(Setting { key: "exclusive".to_owned(), value: None });
        }
        // Said once and twice, the second counts, and nobody has to know which that is.
        options.retain(|option| self.set.iter().all(|set| set.key != option.key));
        options.extend(self.set.iter().cloned());
        options
    }
}

/// Options of sbatch that the scripts need for themselves.
const RESERVED: &[(&[&str], &str)] = &[
    (&["array"], "say how many workers with `--workers` and `--max-running`"),
    (&["time", "time-min"], "say it with `--time`, from which the worker's last minutes are planned"),
    (&["nodes"], "say it with `--nodes`, which also starts a worker on each"),
    (
        &["ntasks", "ntasks-per-node"],
        "a worker is one task, and `--workers` says how many there are; `--cpu-slots` and `--slots-per-gpu` say how many jobs each runs \
         at a time",
    ),
    (&["signal"], "the script needs it to be warned before the time limit; see `--grace`"),
    (
        &["output", "error", "open-mode"],
        "the worker's log lies in `.sweep/logs`; a template of your own can change that",
    ),
    (
        &["job-name"],
        "`scancel` and `squeue` find the workers by the Slurm job's id, which `sweep status` shows",
    ),
    (&["comment"], "it marks the submission, so that one that got lost is found and taken back"),
    (
        &["parsable", "wrap", "test-only", "wait", "quiet", "help", "version"],
        "it changes what sbatch does, not what the job asks for",
    ),
    (&["clusters", "cluster-constraint"], "workers run on the cluster on which they are submitted"),
];

/// A time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
        if days > 0 {
            write!(f, "{days}-")?;
        }
        write!(f, "{hours:02}:{:02}:{:02}", seconds / 60 % 60, seconds % 60)
    }
}

impl FromStr for Time {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Time, &'static str> {
        let time = parse_slurm_time(text).or_else(|| parse_duration(text));
        time.map(Time)
            .ok_or("expected a time such as `3:30:00`, `1-12` (days and hours), `90` (minutes) or `3h30m`")
    }
}

/// A span of time in the worker's own spelling, which is checked here and read there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span(String);

impl FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Span, &'static str> {
        match parse_duration(text) {
            Some(_) => Ok(Span(text.to_owned())),
            None => Err("expected a time with units, such as `30m` or `0:30:00`"),
        }
    }
}

/// A number from 1 to `MOST`, on the command line and in a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
pub struct Count<const MOST: u32>(u32);

impl<const MOST: u32> Count<MOST> {
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl<const MOST: u32> TryFrom<i64> for Count<MOST> {
    type Error = String;

    fn try_from(number: i64) -> Result<Count<MOST>, String> {
        match u32::try_from(number) {
            Ok(number @ 1..) if number <= MOST => Ok(Count(number)),
            _ => Err(format!("{number} is not in 1..={MOST}")),
        }
    }
}

impl<const MOST: u32> FromStr for Count<MOST> {
    type Err = String;

    fn from_str(text: &str) -> Result<Count<MOST>, String> {
        let number: i64 = text.parse().map_err(|_| format!("`{text}` is no number in 1..={MOST}"))?;
        number.try_into()
    }
}

impl<const MOST: u32> fmt::Display for Count<MOST> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that may be written as a number, as in `mem = 8000`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(pub String);

impl FromStr for Text {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Text, Self::Err> {
        Ok(Text(text.to_owned()))
    }
}

/// One option of sbatch.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Setting {
    pub key: String,
    /// `None` where it has none.
    pub value: Option<String>,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Setting, String> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text, None),
        };
        let key = key.strip_prefix("--").unwrap_or(key);
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !key.starts_with(|c: char| c.is_ascii_lowercase()) || !key.chars().all(is_name) || key.len() < 2 {
            return Err(format!(
                "`{key}` is no long option of sbatch, such as `mail-type` in `mail-type=END`"
            ));
        }
        Ok(Setting { key: key.to_owned(), value })
    }
}

/// A number as a file may write it without quotes, or a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Flag(bool),
    Number(i64),
    Text(String),
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Text, D::Error> {
        match Scalar::deserialize(from) {
            Ok(Scalar::Number(number)) => Ok(Text(number.to_string())),
            Ok(Scalar::Text(text)) => Ok(Text(text)),
            Ok(Scalar::Flag(_)) | Err(_) => Err(D::Error::custom("expected a text or a whole number")),
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Time, D::Error> {
        Text::deserialize(from)?.0.parse().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Span, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// `set = {mail-type = "END", hint = "nomultithread", reboot = true}`
fn read_settings<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Setting>, D::Error> {
    let table = BTreeMap::<String, Scalar>::deserialize(from)?;
    let mut settings = Vec::new();
    for (key, value) in table {
        let Setting { key, .. } = key.parse().map_err(D::Error::custom)?;
        match value {
            Scalar::Flag(false) => {}
            Scalar::Flag(true) => settings.push(Setting { key, value: None }),
            Scalar::Number(number) => settings.push(Setting { key, value: Some(number.to_string()) }),
            Scalar::Text(text) => settings.push(Setting { key, value: Some(text) }),
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> Setting {
        text.parse().unwrap()
    }

    #[test]
    fn a_time_is_written_as_slurm_writes_it() {
        let shown = |text: &str| text.parse::<Time>().unwrap().to_string();
        assert_eq!(shown("3h30m"), "03:30:00");
        assert_eq!(shown("3:30:00"), "03:30:00");
        assert_eq!(shown("3:30"), "00:03:30");
        assert_eq!(shown("1-12"), "1-12:00:00");
        assert!("soon".parse::<Time>().is_err());
    }

    fn count<const MOST: u32>(number: i64) -> Option<Count<MOST>> {
        Some(number.try_into().unwrap())
    }

    #[test]
    fn what_neither_slurm_nor_a_worker_could_do_is_no_wish() {
        for wrong in ["0", "-1", "65", "1.5", "many", ""] {
            assert!(wrong.parse::<Count<64>>().is_err(), "{wrong}");
        }
        assert_eq!("64".parse::<Count<64>>().unwrap().get(), 64);
        let nowhere = Wishes { partition: Some(" ".to_owned()), ..Wishes::default() };
        assert_eq!(nowhere.check(), Err(WishError::Empty { option: "partition" }));
        let both = Wishes { slots_per_gpu: count(1), cpu_slots: count(1), ..Wishes::default() };
        assert_eq!(both.check(), Err(WishError::BothSlots));
    }

    #[test]
    fn the_command_line_comes_before_the_profile() {
        let profile = Wishes {
            partition: Some("gpu".to_owned()),
            cpus_per_task: count(5),
            cpu_slots: count(4),
            set: vec![set("mail-type=END"), set("reboot"), set("partition=weekend")],
            setup: vec!["module load cuda".to_owned()],
            ..Wishes::default()
        };
        let typed = Wishes {
            partition: Some("urgent".to_owned()),
            slots_per_gpu: count(2),
            set: vec![set("mail-type=FAIL")],
            setup: vec!["ulimit -n 4096".to_owned()],
            ..Wishes::default()
        };
        let both = typed.over(profile);
        assert_eq!((both.partition.as_deref(), both.cpus_per_task), (Some("urgent"), count(5)));
        assert_eq!((both.slots_per_gpu, both.cpu_slots), (count(2), None));
        assert_eq!(both.set, [set("mail-type=FAIL"), set("reboot")]);
        assert_eq!(both.setup, ["module load cuda", "ulimit -n 4096"]);
    }

    #[test]
    fn what_the_script_needs_for_itself_is_nobodys_to_set() {
        for wrong in [
            "array=0-9",
            "signal=TERM@60",
            "output=x",
            "wrap=ls",
            "time=5",
            "time-min=5",
            "ntasks=4",
            "ntasks",
        ] {
            let wishes = Wishes { set: vec![set(wrong)], ..Wishes::default() };
            assert!(matches!(wishes.check(), Err(WishError::NotSettable { .. })), "{wrong}");
        }
        assert_eq!(Wishes { set: vec![set("ntasks=1")], ..Wishes::default() }.check(), Ok(()));
        for wrong in ["", "N=3", "=x", "Mail=x", "a b=c", "x"] {
            assert!(wrong.parse::<Setting>().is_err(), "{wrong}");
        }
        assert_eq!(set("--mail-type=END"), set("mail-type=END"));
    }

    #[test]
    fn an_option_that_is_set_by_hand_is_said_once() {
        let wishes = Wishes {
            partition: Some("gpu".to_owned()),
            set: vec![set("partition=other")],
            ..Wishes::default()
        };
        assert_eq!(wishes.sbatch_options(), [set("partition=other")]);
    }

    #[test]
    fn a_time_limit_leaves_time_to_work() {
        let of = |time: &str, grace| Wishes { time: Some(time.parse().unwrap()), grace, ..Wishes::default() };
        assert_eq!(of("3:30:00", None).grace(), GRACE);
        assert_eq!(of("1", None).grace(), Duration::from_secs(6));
        assert_eq!(of("1", None).check(), Ok(()));
        assert!(matches!(of("2", count(90)).check(), Err(WishError::NoTime { .. })));
    }

    #[test]
    fn lines_of_shell_are_single_lines() {
        let wishes = Wishes { setup: vec!["a\nb".to_owned()], ..Wishes::default() };
        assert!(matches!(wishes.check(), Err(WishError::ManyLines { .. })));
    }
}
