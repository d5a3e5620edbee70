//! Whatever is exported is found again, and a changed number is noticed.

use super::*;
use crate::protocol::http::ResultsResponse;
use crate::report::by_configuration;
use crate::report::fixtures::grid;
use crate::report::{
    Pivot, References, Sheet, TableOrigin, View, latex, markdown, pivot_records, pivot_sheets,
    results_records, results_sheet, write_parquet,
};

fn demo() -> ResultsResponse {
    let top1 = |a: f64, b: f64, seed: f64| 90.0 + a / 3.0 - b / 7.0 + seed / 10.0;
    let rankme = |a: f64, b: f64, _: f64| 60.0 - a * b / 11.0;
    let mut results = grid(&[1.0, 2.0], &[0.5, 0.9], 2, &[("top1", &top1), ("rankme", &rankme)]);
    // A configuration without a result, and texts that need care.
    for trial in results.trials.iter_mut().filter(|trial| trial.trial.0 > 6) {
        trial.metrics.clear();
    }
    for trial in &mut results.trials {
        let text = if trial.parameters["b"] == 0.5 { "x|y_<i>&%--" } else { "$z$ \\ {}" };
        trial.parameters.insert("b".to_owned(), text.into());
    }
    results
}

const PUBLISHED: &str = "a,metric,value,source\n1,top1,92.25,table 1\n2,rankme,59.5,table 2\n";

/// All forms in which results can be written for people.
fn texts(results: &ResultsResponse) -> Vec<(&'static str, String)> {
    let view = View::usual(results);
    let references = References::read("their.csv", PUBLISHED, results).unwrap();
    let origin = TableOrigin::of_last_epoch(results);
    let mut texts = Vec::new();
    for references in [None, Some(&references)] {
        let pivot = Pivot::new(&view, &"a,b".parse().unwrap()).unwrap();
        for sheets in [vec![results_sheet(&view, references)], pivot_sheets(&view, &pivot, references)] {
            let sheets: Vec<Sheet> = sheets;
            texts.push(("tex", latex(&sheets, &origin)));
            texts.push(("md", markdown(&sheets, &origin)));
        }
    }
    texts
}

fn differences(results: &ResultsResponse, claims: Vec<Claim>) -> Vec<String> {
    let configurations = by_configuration(results);
    claims.into_iter().filter_map(|claim| claim.check(&configurations).difference).collect()
}

#[test]
fn what_was_written_agrees_and_all_of_it_is_found() {
    let results = demo();
    for (ending, text) in texts(&results) {
        let claims = claims_in_text("t", &text).unwrap();
        // Three configurations have results, in two metrics; one has none.
        assert_eq!(claims.len(), 8, "{ending}:\n{text}");
        assert_eq!(differences(&results, claims), Vec::<String>::new(), "{ending}:\n{text}");
    }
}

#[test]
fn another_result_is_noticed_in_each_of_them() {
    let mut changed = demo();
    changed.trials[0].metrics.insert("top1".to_owned(), 91.0);
    for (ending, text) in texts(&demo()) {
        let said = differences(&changed, claims_in_text("t", &text).unwrap());
        assert_eq!(said.len(), 1, "{ending}: {said:?}");
        assert!(said[0].contains("stands there; it is 90.68"), "{}", said[0]);
    }
    // What was missing and is there now.
    let mut more = demo();
    more.trials[6].metrics.insert("top1".to_owned(), 88.0);
    for (ending, text) in texts(&demo()) {
        let said = differences(&more, claims_in_text("t", &text).unwrap());
        assert_eq!(said, ["no number stands there, and now trials 7-8 have a result"], "{ending}");
    }
    // One seed fewer counts.
    let mut fewer = demo();
    fewer.trials[1].state = crate::protocol::http::TrialState::Failed;
    let said = differences(&fewer, claims_in_text("t", &texts(&demo())[0].1).unwrap());
    assert_eq!(said, ["it is of trials 1-2, and now trials 1 have a result"; 2]);
}

/// Rows are told apart by their labels, which stand in the head of a pivot and in other columns too.
#[test]
fn rows_and_columns_with_the_same_labels_are_not_mixed_up() {
    let results = grid(&[1.0, 2.0, 3.0], &[1.0, 2.0], 2, &[("top1", &|a, b, seed| 10.0 * a + b + seed)]);
    let (view, origin) = (View::usual(&results), TableOrigin::of_last_epoch(&results));
    for axes in ["a,b", "b,a"] {
        let pivot = Pivot::new(&view, &axes.parse().unwrap()).unwrap();
        let text = markdown(&pivot_sheets(&view, &pivot, None), &origin);
        let claims = claims_in_text("t", &text).unwrap();
        assert_eq!((claims.len(), differences(&results, claims)), (6, vec![]), "{text}");
    }
    let text = markdown(&[results_sheet(&view, None)], &origin);
    let is_row = |line: &&str| line.starts_with('|') && line.contains('±');
    let mut rows: Vec<&str> = text.lines().filter(is_row).collect();
    let moved: Vec<&str> =
        text.lines().map(|line| if is_row(&line) { rows.pop().unwrap() } else { line }).collect();
    let claims = claims_in_text("t", &moved.join("\n")).unwrap();
    assert_eq!((claims.len(), differences(&results, claims)), (6, vec![]), "{moved:?}");
}

#[test]
fn a_table_may_be_edited_but_its_numbers_not() {
    let results = demo();
    let texts = texts(&results);
    let (latex, markdown) = (&texts[0].1, &texts[1].1);
    let check = |text: &str| differences(&results, claims_in_text("t", text).unwrap());
    // 90.31 ± 0.07 in the first row, 90.26 ± 0.07 in others.
    assert!(latex.contains("90.6") && markdown.contains("90.6"), "{latex}");
    for (from, to) in
        [("90.6", "\\textbf{90.6"), ("\\hline", "\\midrule"), (" & ", "\n   & "), ("\\\\ %", "\\\\[2pt] %")]
    {
        let edited = latex.replace(from, to);
        let edited = if to.contains("textbf") { edited.replace(" $\\pm$", "} $\\pm$") } else { edited };
        assert_eq!(check(&edited), Vec::<String>::new(), "{edited}");
    }
    for text in [latex, markdown] {
        assert_eq!(check(&text.replacen("90.6", "90.7", 1)).len(), 1);
        let rows = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        // Rows change places; notes of LaTeX go with them.
        let mut moved = rows(text);
        let first = moved.iter().position(|line| line.contains("90.6")).unwrap();
        moved.swap(first, first + 1);
        assert_eq!(check(&moved.join("\n")), Vec::<String>::new());
    }
    let with_column = latex.replace("1.0 & ", "1.0 & new & ");
    assert!(
        claims_in_text("t", &with_column).unwrap_err().to_string().contains("a column was added or removed")
    );
    let relabelled = markdown.replacen("| 1.0 |", "| 1.1 |", 1);
    assert!(claims_in_text("t", &relabelled).unwrap_err().to_string().contains("no row that is labelled"));
}

#[test]
fn tables_for_machines_are_found_again_too() {
    let results = demo();
    let view = View::usual(&results);
    let origin = TableOrigin::of_last_epoch(&results);
    let references = References::read("their.csv", PUBLISHED, &results).unwrap();
    let pivot = Pivot::new(&view, &"a,b".parse().unwrap()).unwrap();
    let sheets = pivot_sheets(&view, &pivot, Some(&references));
    let mut changed = demo();
    changed.trials[0].metrics.insert("rankme".to_owned(), 59.0);
    for records in
        [results_records(&view, Some(&references), &origin), pivot_records(&view, &pivot, &sheets, &origin)]
    {
        let csv = records.csv().unwrap();
        let of_csv = claims_in_csv("t.csv", &csv).unwrap();
        let of_parquet = claims_in_parquet("t.parquet", write_parquet(&records).unwrap()).unwrap();
        for claims in [of_csv, of_parquet] {
            assert_eq!(claims.len(), 8, "{csv}");
            assert_eq!(differences(&results, claims.clone()), Vec::<String>::new());
            let said = differences(&changed, claims);
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(said[0].starts_with("it is 59.4"), "{}", said[0]);
        }
    }
    let document = crate::report::json::ResultsDocument::new(&view, &origin, None);
    let json = serde_json::to_string(&document).unwrap();
    let claims = claims_in_json("t.json", &json).unwrap();
    assert_eq!((claims.len(), differences(&results, claims.clone())), (8, vec![]));
    assert_eq!(differences(&changed, claims).len(), 1);
}

#[test]
fn what_is_no_table_is_said_so() {
    assert_eq!(claims_in_text("t", "| a | b |\n\\begin{tabular}").unwrap(), []);
    for error in [
        claims_in_csv("t", "a,b\n1,2\n").unwrap_err(),
        claims_in_json("t", "{}").unwrap_err(),
        claims_in_json("t", "[").unwrap_err(),
        claims_in_parquet("t", vec![1, 2, 3]).unwrap_err(),
        claims_in_text("t", "a & 1 \\\\ % sweep:row {}").unwrap_err(),
        claims_in_text("t", "% sweep:table {\"version\":").unwrap_err(),
    ] {
        assert!(!error.to_string().is_empty());
    }
}
