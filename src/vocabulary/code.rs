use serde::{Deserialize, Serialize};

/// Code of a program as it was when its sweep was submitted, kept as an archive whose name is its hash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct KeptCode {
    /// BLAKE3 of the archive, 64 hexadecimal digits.
    #[cfg_attr(feature = "coordinator", schema(pattern = "^[0-9a-f]{64}$"))]
    pub hash: String,
    /// The folder from which it was taken: paths in the archive are relative to it. Each trial has a copy of the archive's files
    /// that stands for this folder; what else was there leads to the folder itself, where there is one.
    pub root: String,
    /// Where in that folder trials run; empty for the folder itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub directory: String,
    /// What was taken, and so where trials run.
    pub scope: CodeScope,
    /// The folder that was taken whole, so that what comes into it later is told from what was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<KeptFolder>,
}

/// A folder that was taken whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct KeptFolder {
    /// The folder as a path from `root`; empty for `root` itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Folders in it in which there was nothing to keep though git does not ignore them, such as empty ones, as paths from `root`.
    /// Trials find these folders themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub live: Vec<String>,
}

/// What is kept of a program's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CodeScope {
    /// The files that the command names: it is run where it was submitted, and names those in its copy.
    Named,
    /// A folder: the command is run in its copy.
    Folder,
}

/// Folder within that of checkpoints for archives of code.
pub const KEPT_CODE: &str = "code";

/// Name of the archive of this hash.
#[must_use]
pub fn code_file_name(hash: &str) -> String {
    format!("{hash}.tar")
}
