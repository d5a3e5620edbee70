use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Text that is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what} (a whole number from 1)")]
pub struct ParseIdError {
    what: &'static str,
    text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "i64", into = "i64")]
        #[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema), schema(minimum = 1))]
        pub struct $name(pub i64);

        impl From<$name> for i64 {
            fn from(id: $name) -> i64 {
                id.0
            }
        }

        impl TryFrom<i64> for $name {
            type Error = ParseIdError;
            fn try_from(number: i64) -> Result<Self, ParseIdError> {
                if number >= 1 {
                    Ok($name(number))
                } else {
                    Err(ParseIdError { what: $what, text: number.to_string() })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let wrong = || ParseIdError { what: $what, text: text.to_owned() };
                text.parse::<i64>().map_err(|_| wrong())?.try_into()
            }
        }
    };
}

id!(
    /// One submitted spec.
    SweepId,
    "sweep id"
);
id!(
    /// One row of the job table.
    JobId,
    "job id"
);
id!(
    /// One registered agent.
    WorkerId,
    "worker id"
);
id!(
    /// A trial's place in its sweep's full product, from 1; the same for as long as the spec is the same.
    TrialNumber,
    "trial number"
);
id!(
    /// How many times a job has been leased; the current one is the fencing token of its lease.
    Attempt,
    "attempt number"
);

/// What tells leases of one job and attempt apart that different tables gave, or one table before and after it was restored. 0 in
/// leases of versions that had none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct Nonce(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_what_it_prints() {
        assert_eq!(JobId(7).to_string().parse(), Ok(JobId(7)));
    }

    #[test]
    fn zero_and_words_are_no_ids() {
        assert_eq!(
            "0".parse::<SweepId>().unwrap_err().to_string(),
            "`0` is no sweep id (a whole number from 1)"
        );
        assert!("last".parse::<SweepId>().is_err());
        assert!(serde_json::from_str::<SweepId>("0").is_err());
        assert!(serde_json::from_str::<SweepId>("-1").is_err());
        assert_eq!(serde_json::from_str::<SweepId>("1").unwrap(), SweepId(1));
    }
}
