use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use indicatif::HumanBytes;
use tempfile::NamedTempFile;

use super::access::Access;
use super::written::is_a_tables_place;
use super::{CliError, Context};
use crate::report::counted;
use crate::report::json::{BackupDocument, BackupExtent};
use crate::store::{Contents, read_copy};

/// Write a copy of the job table to a file, while work goes on.
///
/// It is consistent: the table as it was at one moment. Checkpoints and logs are not in it. To go back to it, let nothing run,
/// put it in the place of .sweep/sweep.db, and delete .sweep/sweep.db-wal and -shm.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The copy; it must not exist yet.
    file: PathBuf,
    /// Replace the file if there is one.
    #[arg(long)]
    force: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let target = context.environment.working_directory.join(&args.file);
    let folder = folder_of(&target, args, context)?;
    let access = Access::open(context).await?;
    let copy = access.back_up(folder).await;
    access.close().await;
    let copy = copy?;
    // Whoever needs it some day must not be the first to open it.
    let contents = read_copy(copy.path()).await.map_err(CliError::failed)?;
    let size_bytes = put_in_place(copy, &target, args)?;
    if args.json {
        let Contents { sweeps, trials, jobs } = contents;
        let extent = BackupExtent { size_bytes, sweeps, trials, jobs };
        return context.output.json(&BackupDocument::new(args.file.display().to_string(), extent));
    }
    context.output.note(&describe(&contents, size_bytes, &args.file));
    Ok(())
}

/// The folder for the copy, if a copy may be made there.
fn folder_of<'a>(target: &'a Path, args: &Args, context: &Context) -> Result<&'a Path, CliError> {
    let shown = args.file.display();
    let folder = target.parent().filter(|folder| folder.is_dir());
    let (Some(folder), Some(_)) = (folder, target.file_name()) else {
        return Err(CliError::usage(format!("`{shown}` can't be written: there is no such folder")));
    };
    if target.is_dir() {
        return Err(CliError::usage(format!("`{shown}` is a folder; name a file in it")));
    }
    // Whoever has a table open would go on writing to what was there before.
    if is_a_tables_place(target, context) {
        return Err(CliError::usage(format!("`{shown}` is the place of a job table, not of a copy")));
    }
    match target.symlink_metadata() {
        Ok(_) if !args.force => Err(exists(args)),
        _ => Ok(folder),
    }
}

/// Gives the copy its name, and says how large it is.
fn put_in_place(copy: NamedTempFile, target: &Path, args: &Args) -> Result<u64, CliError> {
    let placed = match args.force {
        true => copy.persist(target),
        // Somebody else may have made the file meanwhile.
        false => copy.persist_noclobber(target),
    };
    let file = placed.map_err(|error| match error.error.kind() {
        ErrorKind::AlreadyExists => exists(args),
        _ => CliError::failed(error.error),
    })?;
    let size_bytes = file.metadata().map_err(CliError::failed)?.len();
    if let Some(folder) = target.parent() {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(CliError::failed)?;
    }
    Ok(size_bytes)
}

fn exists(args: &Args) -> CliError {
    CliError::usage(format!("`{}` exists already; `--force` replaces it", args.file.display()))
}

fn describe(contents: &Contents, size_bytes: u64, file: &Path) -> String {
    let Contents { sweeps, trials, jobs } = *contents;
    format!(
        "{}, {} and {} are in `{}` ({})",
        counted(sweeps, "sweep", "sweeps"),
        counted(trials, "trial", "trials"),
        counted(jobs, "job", "jobs"),
        file.display(),
        HumanBytes(size_bytes)
    )
}
