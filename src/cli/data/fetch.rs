use std::path::Path;

use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::Output;
use crate::dataset::fetch::{
    Contents, FetchRequest, Mirror, Progress, Publication, STALL_LIMIT, publication,
};
use crate::dataset::import::Existing;
use crate::dataset::{DatasetName, ParseNameError};

/// Where downloads are kept until they are whole, in the folder of the datasets. No dataset's name begins with a dot.
const DOWNLOADS: &str = ".downloads";

/// Download a dataset from its publisher and import it
///
/// `cifar10` and `cifar100` (170 MB each; the binary versions), from <https://www.cs.toronto.edu/~kriz/cifar.html>; `cifar10.1` (6 MB; v6, 2,000 images), from
/// <https://github.com/modestyachts/CIFAR-10.1>, is added to the dataset `cifar10` as an extra evaluation set.
///
/// Only the published files are imported, wherever they come from: length and SHA-256 are checked. What arrived of a download that broke off
/// stays, and the same command goes on from there. A connection over which nothing comes for 60 seconds is replaced.
///
/// A proxy (http or https, not SOCKS) is the first of `ALL_PROXY`, `HTTPS_PROXY` and `HTTP_PROXY` that is set. It is asked for a tunnel (CONNECT), for `http://`
/// too; hosts in `NO_PROXY` are reached without it.
#[derive(Debug, Parser)]
pub(super) struct FetchArgs {
    /// What to fetch
    what: What,
    /// A mirror: the file or its URL (http, https, file), or a folder or a URL that ends in `/` with the publisher's files in it (`cifar10.1` has two)
    #[arg(long, value_name = "URL|FILE")]
    from: Option<Mirror>,
    /// Name of the dataset to make, or to add `cifar10.1` to [default: as above]
    #[arg(long, value_name = "NAME")]
    name: Option<DatasetName>,
    /// Fetch it again, and replace other contents of that name
    #[arg(long)]
    replace: bool,
    /// Print one JSON document
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    #[value(name = "cifar10")]
    Cifar10,
    #[value(name = "cifar10.1")]
    Cifar10Point1,
    #[value(name = "cifar100")]
    Cifar100,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            What::Cifar10 => "cifar10",
            What::Cifar10Point1 => "cifar10.1",
            What::Cifar100 => "cifar100",
        }
    }

    fn publication(self) -> Publication {
        publication(self.name()).expect("a test looks up every one of these names")
    }
}

impl FetchArgs {
    pub(super) fn into_request(self, root: &Path) -> Result<FetchRequest, ParseNameError> {
        let publication = self.what.publication();
        let usual = match publication.contents {
            Contents::Dataset(_) => self.what.name(),
            Contents::Set { .. } => What::Cifar10.name(),
        };
        Ok(FetchRequest {
            publication,
            from: self.from,
            dataset: self.name.map_or_else(|| usual.parse(), Ok)?,
            existing: if self.replace { Existing::Replace } else { Existing::Keep },
            downloads: root.join(DOWNLOADS),
            stall_limit: STALL_LIMIT,
        })
    }
}

/// Shows how far a download is: a bar on a terminal, a line for each tenth elsewhere.
pub(in crate::cli) struct FetchView {
    output: Output,
    bar: Option<ProgressBar>,
    shown: Option<(String, u64)>,
}

impl FetchView {
    pub(in crate::cli) fn new(output: Output) -> FetchView {
        FetchView { output, bar: None, shown: None }
    }

    pub(in crate::cli) fn show(&mut self, progress: Progress<'_>) {
        let Progress { file, bytes, of_bytes } = progress;
        if self.output.is_live() {
            let bar = self.bar.get_or_insert_with(|| {
                let bar = ProgressBar::with_draw_target(Some(of_bytes), ProgressDrawTarget::stderr());
                let style = ProgressStyle::with_template(
                    "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
                );
                bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            });
            bar.set_length(of_bytes);
            bar.set_message(file.to_owned());
            bar.set_position(bytes);
            return;
        }
        let tenth = bytes * 10 / of_bytes.max(1);
        let now = (file.to_owned(), tenth);
        if self.shown.as_ref() != Some(&now) {
            self.output.note(&format!("{file}: {} of {} kB", bytes / 1000, of_bytes / 1000));
            self.shown = Some(now);
        }
    }
}

impl Drop for FetchView {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_can_be_asked_for_is_published() {
        for what in What::value_variants() {
            let args = FetchArgs { what: *what, from: None, name: None, replace: false, json: false };
            let request = args.into_request(Path::new("/data")).unwrap();
            let expected = if what.name() == "cifar100" { "cifar100" } else { "cifar10" };
            assert_eq!(request.dataset.as_str(), expected);
        }
    }
}
