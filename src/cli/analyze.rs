use super::access::Access;
use super::looking::{LookingArgs, warn};
use super::{CliError, Context};
use crate::report::View;
use crate::report::analysis::{Analysis, Pairs, analysis_text};
use crate::report::json::AnalysisDocument;

/// Say what a sweep says about its parameters: how much of the variance each explains, what each value adds, and how
/// metrics go together.
///
/// Shares of variance, effects with 95 % intervals, and Pearson's and Spearman's correlation with bootstrap intervals; docs/ANALYSIS.md
/// has the formulas, and says how to read them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    looking: LookingArgs,
    /// Two metrics whose correlation is wanted, such as `rankme,top1`; may be repeated. Else that of the first metric with
    /// each other one.
    #[arg(long, value_name = "X,Y", value_parser = read_pair)]
    correlate: Vec<[String; 2]>,
    /// Correlate within the same values of these parameters only.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    given: Vec<String>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

fn read_pair(text: &str) -> Result<[String; 2], String> {
    match text.split(',').map(str::trim).collect::<Vec<_>>()[..] {
        [x, y] if !x.is_empty() && !y.is_empty() && x != y => Ok([x.to_owned(), y.to_owned()]),
        _ => Err("write two metrics, as in `rankme,top1`".to_owned()),
    }
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let access = Access::open(context).await?;
    let found = args.looking.find(&access).await;
    access.close().await;
    let found = found?;
    let view = View::new(&found.results, &args.looking.options(&found))?;
    for metric in args.correlate.iter().flatten() {
        view.check_metric(metric)?;
    }
    for parameter in &args.given {
        view.check_parameter(parameter)?;
    }
    let analysis = Analysis::of(&view, &Pairs { metrics: args.correlate.clone(), given: args.given.clone() });
    if analysis.configurations == 0 {
        context.output.note("no configuration has a result yet");
    }
    match args.json {
        true => context.output.json(&AnalysisDocument::new(analysis, found.origin))?,
        false => context.output.data(&analysis_text(&analysis))?,
    }
    warn(&view, context);
    Ok(())
}
