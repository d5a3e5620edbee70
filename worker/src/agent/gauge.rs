//! What the node is doing: load and memory of the host, utilisation and memory of the agent's GPUs. Everything here is for
//! people, nothing is decided by it, and whatever can't be read is left out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;
use sweep::protocol::http::{GpuLoad, NodeLoad};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// A driver that hangs must not keep a heartbeat back for longer.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// Reads the node's instruments. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Gauge {
    gpus: Arc<[String]>,
    nvml: Option<Arc<Nvml>>,
    /// The last look has not come back: another one would hang beside it.
    is_looking: Arc<AtomicBool>,
}

impl Gauge {
    /// `gpus`: the unique names of those that the agent uses.
    pub(crate) fn new(gpus: &[String]) -> Gauge {
        let nvml = if gpus.is_empty() { None } else { Nvml::init().ok().map(Arc::new) };
        Gauge { gpus: gpus.into(), nvml, is_looking: Arc::default() }
    }

    /// What the node is doing now; `None` where it doesn't say in time.
    pub(crate) async fn read(&self) -> Option<NodeLoad> {
        if self.is_looking.swap(true, Ordering::Relaxed) {
            return None;
        }
        let gauge = self.clone();
        let look = spawn_blocking(move || {
            let load = gauge.look();
            gauge.is_looking.store(false, Ordering::Relaxed);
            load
        });
        timeout(LONGEST_LOOK, look).await.ok()?.ok()
    }

    fn look(&self) -> NodeLoad {
        let (memory_total_bytes, available) = parse_memory(&read("/proc/meminfo")).unzip();
        let used = |(total, available): (u64, u64)| total.saturating_sub(available);
        NodeLoad {
            load: parse_load(&read("/proc/loadavg")),
            memory_used_bytes: memory_total_bytes.zip(available).map(used),
            memory_total_bytes,
            gpus: self.gpus.iter().filter_map(|gpu| self.gpu_load(gpu)).collect(),
        }
    }

    fn gpu_load(&self, gpu: &str) -> Option<GpuLoad> {
        let look = |nvml: &Nvml| -> Result<GpuLoad, NvmlError> {
            let device = nvml.device_by_uuid(gpu)?;
            let memory = device.memory_info()?;
            Ok(GpuLoad {
                name: gpu.to_owned(),
                // A share of a GPU (MIG) has no figure of its own.
                utilisation_percent: device.utilization_rates().ok().map(|rates| rates.gpu),
                memory_used_bytes: memory.used,
                memory_total_bytes: memory.total,
            })
        };
        look(self.nvml.as_deref()?).ok()
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Processes that run or wait to, averaged over the last minute.
fn parse_load(text: &str) -> Option<f64> {
    text.split_ascii_whitespace().next()?.parse().ok().filter(|load: &f64| load.is_finite())
}

/// All memory, and what of it programs could still get.
fn parse_memory(text: &str) -> Option<(u64, u64)> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some((field("MemTotal:")?, field("MemAvailable:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_and_memory_are_read_from_what_the_kernel_writes() {
        assert_eq!(parse_load("0.52 0.58 0.59 1/1003 12345\n"), Some(0.52));
        let text = "MemTotal:       16384 kB\nMemFree:          100 kB\nMemAvailable:    4096 kB\n";
        assert_eq!(parse_memory(text), Some((16_384 << 10, 4096 << 10)));
    }

    #[test]
    fn what_cant_be_read_is_left_out() {
        for text in ["", "load", "NaN 1"] {
            assert_eq!(parse_load(text), None, "{text}");
        }
        for text in ["", "MemTotal: 5 kB\n", "MemTotal: 5 kB\nMemAvailable: x kB\n"] {
            assert_eq!(parse_memory(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn a_gpu_that_is_not_there_leaves_the_rest_to_be_told() {
        let gauge = Gauge::new(&["GPU-00000000-0000-0000-0000-000000000000".to_owned()]);
        let load = gauge.read().await.unwrap();
        assert_eq!(load.gpus, []);
        assert!(load.memory_total_bytes.unwrap() >= load.memory_used_bytes.unwrap());
    }

    #[tokio::test]
    async fn while_one_look_hangs_there_is_no_second_one() {
        let gauge = Gauge::new(&[]);
        gauge.is_looking.store(true, Ordering::Relaxed);
        assert_eq!(gauge.read().await, None);
        gauge.is_looking.store(false, Ordering::Relaxed);
        assert!(gauge.read().await.is_some());
        assert!(gauge.read().await.is_some(), "a look that has come back makes room for the next");
    }
}
