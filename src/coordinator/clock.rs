use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::vocabulary::Timestamp;

/// The one source of `now`.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The system's time at the start, carried on by the monotonic clock, so that setting the system's clock while the
    /// coordinator runs neither ends leases nor keeps them alive.
    System { started_at: Timestamp, since: std::time::Instant },
    /// A test's time.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The system's clock.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one clock")]
    pub fn system() -> Clock {
        let since_epoch =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Clock::System { started_at: Timestamp(0).after(since_epoch), since: std::time::Instant::now() }
    }

    /// A clock that stands until it is moved.
    #[must_use]
    pub fn manual(now: Timestamp) -> Clock {
        Clock::Manual(Arc::new(AtomicI64::new(now.0)))
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self {
            Clock::System { started_at, since } => started_at.after(since.elapsed()),
            Clock::Manual(now) => Timestamp(now.load(Ordering::SeqCst)),
        }
    }

    /// Moves a manual clock; the system's goes by itself.
    pub fn advance(&self, by: Duration) {
        if let Clock::Manual(now) = self {
            now.store(self.now().after(by).0, Ordering::SeqCst);
        }
    }
}
