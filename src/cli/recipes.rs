//! Recipes: the specs in `sweeps/` of a project, of a clone, or beside the program.

use std::fs;
use std::path::{Path, PathBuf};

use comfy_table::{Cell, CellAlignment};
use serde::Serialize;

use super::spec_file::SpecArgs;
use super::state_folder::is_from_above;
use super::{CliError, Context};
use crate::coordinator::outline;
use crate::report::{grouped, lines_of, new_table};
use crate::spec::base_of;

/// Version of the document that `--json` prints.
const JSON_SCHEMA_VERSION: u32 = 1;

/// The folder in which recipes lie.
const FOLDER: &str = "sweeps";
/// Folders in it whose files are no sweeps of their own.
const NOT_SWEEPS: &[&str] = &["base", "reference"];

/// List the recipes: specs in `sweeps/`, with the question that each answers and its size.
///
/// They are looked for in `sweeps/` of the working directory and of the folders above it, and then of the program's own: beside it, in
/// `../share/sweep/`, and in the clone in which it was built. `sweep run kd-ema` and every other command that takes a spec take a recipe's name,
/// too, where no file is called so.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let folder = find_folder(context)?;
    let recipes: Vec<_> =
        names_in(&folder)?.into_iter().map(|name| Recipe::read(name, &folder, context)).collect();
    if args.json {
        return context.output.json(&Document {
            schema_version: JSON_SCHEMA_VERSION,
            folder: &folder,
            recipes,
        });
    }
    context.output.data(&table(&recipes))?;
    for Recipe { recipe, error, .. } in &recipes {
        if let Some(error) = error {
            context.output.warn(&format!("{recipe}: {error}"));
        }
    }
    context.output.note(&format!("{} recipes in {}; sweep run NAME", recipes.len(), folder.display()));
    Ok(())
}

/// The file of the recipe called so, if there is one; said where it comes from a folder above.
pub(super) fn find(name: &str, context: &Context) -> Option<PathBuf> {
    let is_name = Path::new(name).components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if !is_name {
        return None;
    }
    let folder = find_folder(context).ok()?;
    let file = folder.join(format!("{name}.yaml"));
    if !file.is_file() {
        return None;
    }
    // It may be another project's, below which this folder happens to lie.
    if is_from_above(&folder, context) {
        context.output.note(&format!("recipe `{name}`: {}", file.display()));
    }
    Some(file)
}

/// Where recipes may lie, the first place first.
fn places(context: &Context) -> Vec<PathBuf> {
    let environment = &context.environment;
    let above = environment.working_directory.ancestors().map(Path::to_owned);
    let own = environment.own_directory.iter();
    // The last one: `target/release/sweep` of a clone.
    let beside = own.flat_map(|own| [own.clone(), own.join("../share/sweep"), own.join("../..")]);
    above.chain(beside).map(|folder| folder.join(FOLDER)).collect()
}

fn find_folder(context: &Context) -> Result<PathBuf, CliError> {
    let places = places(context);
    let found = places.iter().find(|place| names_in(place).is_ok_and(|names| !names.is_empty()));
    let found = found.map(|place| place.canonicalize().unwrap_or_else(|_| place.clone()));
    found.ok_or_else(|| {
        let looked: String = places.iter().map(|place| format!("\n   {}", place.display())).collect();
        CliError::usage(format!(
            "there are no recipes here; copy the folder `{FOLDER}/` of sweep's repository to one of the places that were looked \
             at:{looked}"
        ))
    })
}

/// Paths of specs in a folder and the folders in it, without their ending.
fn names_in(folder: &Path) -> Result<Vec<String>, CliError> {
    let mut names = Vec::new();
    let list = |path: &Path| {
        let unreadable = |error: std::io::Error| {
            CliError::failed(anyhow::Error::new(error).context(format!("can't read `{}`", path.display())))
        };
        let entries = fs::read_dir(path).map_err(unreadable)?;
        entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(unreadable)
    };
    let stem = |path: &Path| {
        let stem = path.file_stem()?.to_str()?.to_owned();
        path.extension().is_some_and(|found| found == "yaml").then_some(stem)
    };
    for path in list(folder)? {
        if path.is_file() {
            names.extend(stem(&path));
            continue;
        }
        let Some(inner) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if path.is_dir() && !NOT_SWEEPS.contains(&inner) && !inner.starts_with('.') {
            names.extend(
                list(&path)?.iter().filter_map(|path| stem(path)).map(|name| format!("{inner}/{name}")),
            );
        }
    }
    names.sort_by_key(|name| (name.contains('/'), name.clone()));
    Ok(names)
}

/// What is known of a recipe.
#[derive(Debug, Default, Serialize)]
struct Recipe {
    /// What it is called here.
    recipe: String,
    path: PathBuf,
    /// What its sweep is called.
    name: Option<String>,
    description: Option<String>,
    /// What it asks, from the comment at its head.
    question: String,
    /// `as described`, `as run` or `both`, where its head says so.
    variant: Option<&'static str>,
    trials: Option<u64>,
    stages: Option<u64>,
    /// To train, shared ones counted once.
    epochs: Option<u64>,
    epochs_unshared: Option<u64>,
    /// What it inherits, relative to it.
    base: Option<String>,
    /// Why it is no right spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct Document<'d> {
    schema_version: u32,
    folder: &'d Path,
    recipes: Vec<Recipe>,
}

impl Recipe {
    fn read(recipe: String, folder: &Path, context: &Context) -> Recipe {
        let path = folder.join(format!("{recipe}.yaml"));
        let mut found = Recipe { recipe, path: path.clone(), ..Recipe::default() };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => return Recipe { error: Some(error.to_string()), ..found },
        };
        // Relative to a spec without a folder, so as it is written.
        (found.question, found.variant, found.base) = (question(&text), variant(&text), base_of("", &text));
        let request = SpecArgs::new(&path.to_string_lossy(), &[]).into_request(context);
        match request.and_then(|request| Ok(outline(&request)?)) {
            Ok((spec, plan)) => {
                let extent = plan.extent();
                Recipe {
                    name: Some(spec.name),
                    description: spec.description,
                    trials: Some(plan.trials.len() as u64),
                    stages: Some(plan.jobs().len() as u64),
                    epochs: Some(extent.epochs_shared),
                    epochs_unshared: Some(extent.epochs_unshared),
                    ..found
                }
            }
            Err(error) => Recipe { error: Some(first_line(&error, &path)), ..found },
        }
    }
}

fn first_line(error: &CliError, path: &Path) -> String {
    match error {
        CliError::Spec(_) => format!("it is no right spec; `sweep expand {}` says why", path.display()),
        CliError::Usage(error) | CliError::Failed(error) => error.to_string(),
        CliError::SpecElsewhere(text) => text.clone(),
        CliError::Unsuccessful => String::new(),
    }
}

/// Lines of the comment at the head of a spec, without the one for editors.
fn head(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim);
    lines.filter(|line| !line.starts_with("yaml-language-server"))
}

fn variant(text: &str) -> Option<&'static str> {
    head(text).find_map(|line| {
        let starts = |words: &str| line.starts_with(words);
        if starts("As described") {
            Some("as described")
        } else if starts("As run") {
            Some("as run")
        } else {
            starts("Both.").then_some("both")
        }
    })
}

/// The first question in the head, or else its first sentence.
fn question(text: &str) -> String {
    let said: Vec<&str> = head(text).collect();
    let said = said.join(" ");
    let ends = said.match_indices(['?', '.']).map(|(at, _)| at + 1);
    let ends = ends.filter(|end| said[*end..].is_empty() || said[*end..].starts_with(' '));
    let (mut sentences, mut start) = (Vec::new(), 0);
    for end in ends {
        sentences.push(said[start..end].trim());
        start = end;
    }
    let chosen = sentences.iter().find(|sentence| sentence.ends_with('?')).or(sentences.first());
    chosen.map_or(&said[..], |sentence| *sentence).trim_end_matches('.').to_owned()
}

fn table(recipes: &[Recipe]) -> String {
    let mut table = new_table();
    table.set_header(["recipe", "variant", "trials", "stages", "epochs", "base", "question"].map(Cell::new));
    for recipe in recipes {
        let number = |number: Option<u64>| {
            let text = number.map_or_else(|| "–".to_owned(), grouped);
            Cell::new(text).set_alignment(CellAlignment::Right)
        };
        table.add_row([
            Cell::new(&recipe.recipe),
            Cell::new(recipe.variant.unwrap_or_default()),
            number(recipe.trials),
            number(recipe.stages),
            number(recipe.epochs),
            Cell::new(recipe.base.as_deref().unwrap_or_default()),
            Cell::new(&recipe.question),
        ]);
    }
    lines_of(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_says_what_is_asked_and_in_which_variant() {
        let text = "# yaml-language-server: $schema=x\n# Does 1.5 help,\n# and how much? It does.\n# As run (docs).\nbase: b\n# As described\n";
        assert_eq!(question(text), "Does 1.5 help, and how much?");
        assert_eq!(variant(text), Some("as run"));
        assert_eq!((question("base: b"), variant("# Not so\nbase: b")), (String::new(), None));
        assert_eq!(question("# The numbers: all. Of what? More"), "Of what?");
        assert_eq!(question("# The numbers: all. More"), "The numbers: all");
    }
}
