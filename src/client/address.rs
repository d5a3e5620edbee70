//! Where the coordinator is: said once, or announced in a file that is read again whenever nobody answers there.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Url;

use super::ClientError;
use crate::protocol::announcement::Announcement;

/// An address. Clones of one that is announced move together.
#[derive(Debug, Clone)]
pub(super) enum Address {
    Fixed(Url),
    Announced(Arc<Announced>),
}

#[derive(Debug)]
pub(super) struct Announced {
    file: PathBuf,
    /// Who reads it, as the system calls this host.
    host: String,
    last: Mutex<Option<Url>>,
}

impl Address {
    pub(super) fn announced_in(file: &Path, host: &str) -> Address {
        let (file, host) = (file.to_owned(), host.to_owned());
        Address::Announced(Arc::new(Announced { file, host, last: Mutex::default() }))
    }

    /// The address as far as it is known; where none is, it is looked for.
    pub(super) async fn find(&self) -> Result<Url, ClientError> {
        match self {
            Address::Fixed(url) => Ok(url.clone()),
            Address::Announced(announced) => match announced.last() {
                Some(url) => Ok(url),
                None => announced
                    .look()
                    .await
                    .ok_or_else(|| ClientError::Unannounced { file: announced.file.clone() }),
            },
        }
    }

    /// Looks whether the coordinator is elsewhere than it was thought to be, where it is asked for from now on.
    pub(super) async fn has_moved(&self) -> bool {
        match self {
            Address::Fixed(_) => false,
            Address::Announced(announced) => {
                let before = announced.last();
                let now = announced.look().await;
                now.is_some() && now != before
            }
        }
    }

    /// For messages.
    pub(super) fn shown(&self) -> String {
        match self {
            Address::Fixed(url) => url.to_string(),
            Address::Announced(announced) => {
                announced.last().map_or_else(|| announced.file.display().to_string(), |url| url.to_string())
            }
        }
    }
}

impl Announced {
    fn last(&self) -> Option<Url> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Between two coordinators there is no file, and the last address is kept: a service comes back to it.
    async fn look(&self) -> Option<Url> {
        let text = tokio::fs::read(&self.file).await.ok()?;
        let announcement: Announcement = serde_json::from_slice(&text).ok()?;
        let url = super::parse_address(announcement.url_from(&self.host)).ok()?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(url.clone());
        Some(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announce(file: &Path, url: &str) {
        let announcement = Announcement {
            url: url.to_owned(),
            url_here: None,
            host: "login1".to_owned(),
            pid: 1,
            is_service: true,
        };
        std::fs::write(file, serde_json::to_string(&announcement).unwrap()).unwrap();
    }

    #[tokio::test]
    async fn an_announced_address_is_waited_for_followed_and_kept_between_two_coordinators() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("coordinator.json");
        let address = Address::announced_in(&file, "node1");
        let missing = address.find().await.unwrap_err();
        assert!(missing.is_transient() && missing.to_string().contains("coordinator.json"), "{missing}");
        announce(&file, "http://login1:7077");
        let clone = address.clone();
        assert_eq!(address.find().await.unwrap().as_str(), "http://login1:7077/");
        announce(&file, "http://node7:1234");
        assert_eq!(
            clone.find().await.unwrap().as_str(),
            "http://login1:7077/",
            "nobody has looked again yet"
        );
        assert!(address.has_moved().await && !address.has_moved().await);
        assert_eq!(clone.find().await.unwrap().as_str(), "http://node7:1234/");
        for text in ["", "{", "{}"] {
            std::fs::write(&file, text).unwrap();
            assert!(!address.has_moved().await, "{text}");
        }
        std::fs::remove_file(&file).unwrap();
        assert!(!address.has_moved().await);
        assert_eq!(address.find().await.unwrap().as_str(), "http://node7:1234/");
    }
}
