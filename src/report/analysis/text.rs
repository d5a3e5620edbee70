use comfy_table::{Cell, CellAlignment, Table};

use super::{Analysis, Coefficient, Correlation, Effect, Interval, Noise, ParameterEffects};
use crate::report::table::{lines_of, new_table};
use crate::report::{count, counted};

/// Shares below this are not shown: all together they are little.
const LEAST_SHARE: f64 = 0.001;

/// For people.
#[must_use]
pub fn analysis_text(analysis: &Analysis) -> String {
    let mut parts = Vec::new();
    if let Some(metric) = &analysis.metric {
        let configurations = counted(count(analysis.configurations), "configuration", "configurations");
        let trials = counted(count(analysis.trials), "trial", "trials");
        parts.push(format!("{} over {configurations}, {trials}\n", metric.name));
    }
    parts.extend(importance(analysis));
    parts.extend(effects(analysis));
    parts.extend(correlations(&analysis.correlations));
    parts.join("\n")
}

fn importance(analysis: &Analysis) -> Option<String> {
    let importance = analysis.importance.as_ref()?;
    let mut shares: Vec<(String, f64)> = importance.parameters.clone();
    shares.extend(importance.pairs.iter().map(|(one, other, share)| (format!("{one} × {other}"), *share)));
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    let explained: f64 = shares.iter().map(|(_, share)| share).sum();
    shares.retain(|(_, share)| *share >= LEAST_SHARE);
    let rest = 1.0 - explained - importance.seeds.unwrap_or(0.0);
    if rest >= LEAST_SHARE {
        // Of two parameters and no seeds to tell them apart from, nothing more can be together.
        let what = if importance.parameters.len() > 2 { "three and more together" } else { "not explained" };
        shares.push((what.to_owned(), rest));
    }
    shares.extend(importance.seeds.map(|share| ("seeds".to_owned(), share)));
    let mut table = new_table();
    table.set_header(["share of variance", "explained by"]);
    for (what, share) in &shares {
        table.add_row([format!("{:.1} %", 100.0 * share), what.clone()]);
    }
    align(&mut table, 0..1);
    let mut text = lines_of(&table);
    if explained > 1.005 {
        text += "combinations or seeds are missing, so shares overlap and add up to more than 100 %\n";
    }
    if importance.seeds.is_none() && !importance.pairs.is_empty() {
        text += "there is one seed: what two parameters explain together can't be told from chance\n";
    }
    Some(text)
}

fn effects(analysis: &Analysis) -> Option<String> {
    if analysis.effects.is_empty() {
        return None;
    }
    let all = || analysis.effects.iter().flat_map(|parameter| &parameter.effects);
    let largest = all().map(|effect| effect.mean.abs()).fold(0.0, f64::max);
    let mut decimals = 2;
    while largest > 0.0 && decimals < 12 && largest * 10f64.powi(decimals) < 100.0 {
        decimals += 1;
    }
    let decimals = usize::try_from(decimals).unwrap_or(2);
    let mut table = new_table();
    table.set_header(["parameter", "value", "configurations", "mean", "effect", "95 % interval"]);
    for ParameterEffects { parameter, effects } in &analysis.effects {
        if effects.is_empty() {
            table.add_row([parameter.as_str(), "", "", "", "–", "can't be told apart from those above"]);
        }
        for (at, effect) in effects.iter().enumerate() {
            let name = if at == 0 { parameter } else { "" };
            table.add_row(effect_row(name, effect, decimals));
        }
    }
    align(&mut table, 2..6);
    let from = match analysis.noise {
        Noise::Seeds { degrees, .. } => {
            format!("intervals are from the spread of seeds ({degrees} degrees of freedom)")
        }
        Noise::Residual { degrees, .. } => format!(
            "there is one seed: intervals are from what the effects leave unexplained ({degrees} degrees of freedom)"
        ),
        Noise::Unknown => {
            "there is one seed, and nothing is left over to tell how far results spread".to_owned()
        }
    };
    Some(format!("{}{from}\n", lines_of(&table)))
}

fn effect_row(name: &str, effect: &Effect, decimals: usize) -> Vec<Cell> {
    let interval = effect.interval.map_or_else(
        || "–".to_owned(),
        |Interval { low, high }| format!("{low:+.decimals$} … {high:+.decimals$}"),
    );
    vec![
        Cell::new(name),
        Cell::new(&effect.level),
        Cell::new(effect.configurations),
        Cell::new(format!("{:.decimals$}", effect.mean)),
        Cell::new(format!("{:+.decimals$}", effect.effect)),
        Cell::new(interval),
    ]
}

fn correlations(correlations: &[Correlation]) -> Option<String> {
    let given = correlations.first()?.given.join(", ");
    let mut table = new_table();
    table.set_header(["metric", "with", "n", "Pearson", "95 % interval", "Spearman", "95 % interval"]);
    for correlation in correlations {
        let mut row = vec![correlation.x.clone(), correlation.y.clone(), correlation.n.to_string()];
        row.extend(coefficient(correlation.pearson));
        row.extend(coefficient(correlation.spearman));
        table.add_row(row);
    }
    align(&mut table, 2..7);
    let mut text = lines_of(&table);
    if !given.is_empty() {
        text += &format!("within the same {given}\n");
    }
    Some(text)
}

fn coefficient(coefficient: Option<Coefficient>) -> [String; 2] {
    let Some(Coefficient { value, interval }) = coefficient else {
        return ["–".to_owned(), String::new()];
    };
    let interval = interval.map(|Interval { low, high }| format!("{low:+.2} … {high:+.2}"));
    [format!("{value:+.3}"), interval.unwrap_or_else(|| "–".to_owned())]
}

fn align(table: &mut Table, columns: std::ops::Range<usize>) {
    for column in table.column_iter_mut().skip(columns.start).take(columns.len()) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}
