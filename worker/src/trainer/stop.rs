//! The wish that a trial process stops: a signal sets a flag, and the training loop looks at it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGTERM, SIGUSR1};
use signal_hook::flag;

/// Two flags that signals and training share. Without [`Stop::catch_signals`] nobody sets them but who holds a clone.
#[derive(Debug, Clone)]
pub struct Stop {
    is_wanted: Arc<AtomicBool>,
    /// While nothing is at stake the signals end the process, as they do by default.
    is_idle: Arc<AtomicBool>,
}

impl Default for Stop {
    fn default() -> Stop {
        Stop { is_wanted: Arc::new(AtomicBool::new(false)), is_idle: Arc::new(AtomicBool::new(true)) }
    }
}

impl Stop {
    /// Lets SIGTERM, which the agent sends, and SIGUSR1, which schedulers send before it, ask to stop.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn catch_signals(&self) -> io::Result<()> {
        for signal in [SIGTERM, SIGUSR1] {
            flag::register_conditional_default(signal, self.is_idle.clone())?;
            flag::register(signal, self.is_wanted.clone())?;
        }
        Ok(())
    }

    pub fn ask(&self) {
        self.is_wanted.store(true, Ordering::SeqCst);
    }

    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::SeqCst)
    }

    /// Runs `work`, which looks at [`Stop::is_wanted`] and says what came of it before it ends; a wish from before does not
    /// count.
    pub(super) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        // In this order: a signal in between ends the process, and none is lost.
        self.is_wanted.store(false, Ordering::SeqCst);
        self.is_idle.store(false, Ordering::SeqCst);
        let result = work();
        self.is_idle.store(true, Ordering::SeqCst);
        result
    }
}
