//! The file in which a coordinator says where it is (`coordinator.json` in the state folder).

use serde::{Deserialize, Serialize};

/// How a running coordinator is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// What everybody is told.
    pub url: String,
    /// What holds on its own host, whatever others have to go through.
    #[serde(default)]
    pub url_here: Option<String>,
    /// Its host.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// Somebody runs it for its own sake (`sweep serve`) and starts it again where it ends: whoever works for it waits
    /// instead of taking its place.
    #[serde(default)]
    pub is_service: bool,
}

impl Announcement {
    /// Where it is found from this host.
    #[must_use]
    pub fn url_from(&self, host: &str) -> &str {
        self.url_here.as_deref().filter(|_| host == self.host).unwrap_or(&self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinator_is_found_on_its_own_host_whatever_others_are_told() {
        let announced = |url_here: Option<&str>| Announcement {
            url: "http://login1:7077".to_owned(),
            url_here: url_here.map(str::to_owned),
            host: "login1".to_owned(),
            pid: 1,
            is_service: true,
        };
        let both = announced(Some("http://127.0.0.1:7077"));
        assert_eq!(both.url_from("login1"), "http://127.0.0.1:7077");
        assert_eq!(both.url_from("node1"), "http://login1:7077");
        assert_eq!(announced(None).url_from("login1"), "http://login1:7077");
    }
}
