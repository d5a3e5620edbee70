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

fn count_of_numbers(claims: &[Claim]) -> usize {
    claims.iter().filter(|claim| claim.shown.is_number()).count()
}

fn differences_of_numbers(results: &ResultsResponse, claims: Vec<Claim>) -> Vec<String> {
    differences(results, claims.into_iter().filter(|claim| claim.shown.is_number()).collect())
}

#[test]
fn what_was_written_agrees_and_all_of_it_is_found() {
    let results = demo();
    for (ending, text) in texts(&results) {
        let claims = claims_in_text("t", &text).unwrap();
        // Three configurations have results, in two metrics; one has none.
        assert_eq!(count_of_numbers(&claims), 8, "{ending}:\n{text}");
        assert_eq!(differences(&results, claims), Vec::<String>::new(), "{ending}:\n{text}");
    }
}

#[test]
fn another_result_is_noticed_in_each_of_them() {
    let mut changed = demo();
    changed.trials[0].metrics.insert("top1".to_owned(), 91.0);
    for (ending, text) in texts(&demo()) {
        let said = differences_of_numbers(&changed, claims_in_text("t", &text).unwrap());
        assert_eq!(said.len(), 1, "{ending}: {said:?}");
        assert!(said[0].contains("stands there; it is 90.68"), "{}", said[0]);
    }
    // What was missing and is there now.
    let mut more = demo();
    more.trials[6].metrics.insert("top1".to_owned(), 88.0);
    for (ending, text) in texts(&demo()) {
        let said = differences_of_numbers(&more, claims_in_text("t", &text).unwrap());
        assert_eq!(said, ["no number stands there, and now trials 7-8 have a result"], "{ending}");
    }
    // One seed fewer counts.
    let mut fewer = demo();
    fewer.trials[1].state = crate::protocol::http::TrialState::Failed;
    let said = differences(&fewer, claims_in_text("t", &texts(&demo())[0].1).unwrap());
    let of_fewer = "it is of trials 1-2, and now trials 1 have a result";
    assert_eq!(said, ["`2` stands there; it is 1 of 2", of_fewer, of_fewer]);
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
        assert_eq!((count_of_numbers(&claims), differences(&results, claims)), (6, vec![]), "{text}");
    }
    let text = markdown(&[results_sheet(&view, None)], &origin);
    let is_row = |line: &&str| line.starts_with('|') && line.contains('±');
    let mut rows: Vec<&str> = text.lines().filter(is_row).collect();
    let moved: Vec<&str> =
        text.lines().map(|line| if is_row(&line) { rows.pop().unwrap() } else { line }).collect();
    let claims = claims_in_text("t", &moved.join("\n")).unwrap();
    assert_eq!((count_of_numbers(&claims), differences(&results, claims)), (6, vec![]), "{moved:?}");
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
    // Of a row that is gone nobody knows whether it was deleted or labelled otherwise.
    let row = markdown.lines().find(|line| line.starts_with("| 1.0 |")).unwrap();
    let deleted = markdown.replacen(&format!("{row}\n"), "", 1);
    assert!(claims_in_text("t", &deleted).unwrap_err().to_string().contains("no row that is labelled"));
}

/// All forms for people that have something to say of `a` and `b`, with the marks of a pivot.
fn labelled() -> (ResultsResponse, Vec<(&'static str, String)>) {
    let results = grid(&[1.0, 2.0], &[0.5, 0.9], 2, &[("top1", &|a, b, seed| 80.0 + a - b + seed / 8.0)]);
    let (view, origin) = (View::usual(&results), TableOrigin::of_last_epoch(&results));
    let pivot = Pivot::new(&view, &"a,b".parse().unwrap()).unwrap();
    let mut texts = Vec::new();
    for sheet in [results_sheet(&view, None), pivot_sheets(&view, &pivot, None).remove(0)] {
        texts.push(("tex", latex(std::slice::from_ref(&sheet), &origin)));
        texts.push(("md", markdown(&[sheet], &origin)));
    }
    (results, texts)
}

#[test]
fn a_wrong_label_is_noticed_wherever_it_stands() {
    let (results, texts) = labelled();
    let check = |text: &str| differences(&results, claims_in_text("t", text).unwrap());
    for (at, from, to, said) in [
        // Rows, and what they say of seeds.
        (0, "\n1.0 & 0.5", "\n1.5 & 0.5", "`1.5` stands there; it is 1.0"),
        (0, "0.9 & 2 &", "0.9 & 3 &", "`3` stands there; it is 2"),
        (1, "| 1.0 | 0.5", "| 1.5 | 0.5", "`1.5` stands there; it is 1.0"),
        (1, "| 0.9 | 2 |", "| 0.9 | 1 of 2 |", "`1 of 2` stands there; it is 2"),
        (2, "\n1.0 &", "\n3.0 &", "`3.0` stands there; it is 1.0"),
        (3, "| 1.0 |", "| 3.0 |", "`3.0` stands there; it is 1.0"),
        // Columns.
        (0, "a & b & seeds", "b & a & seeds", "`b` stands above it; it is a"),
        (1, "| a | b |", "| b | a |", "`b` stands above it; it is a"),
        (2, "& 0.5 &", "& 0.7 &", "`0.7` stands there; it is 0.5"),
        (3, "| 0.5 |", "| 0.7 |", "`0.7` stands there; it is 0.5"),
    ] {
        let (_, text) = &texts[at];
        let edited = text.replacen(from, to, 1);
        assert_ne!(edited, *text, "{from}\n{text}");
        let differences = check(&edited);
        assert!(differences.iter().any(|difference| difference == said), "{said}: {differences:?}\n{edited}");
    }
    // Two labels that change places, with nothing else changed.
    let swap = |text: &str| {
        text.replace("\n1.0 &", "\nX &").replace("\n2.0 &", "\n1.0 &").replace("\nX &", "\n2.0 &")
    };
    for at in [0, 2] {
        assert!(check(&swap(&texts[at].1)).len() >= 2, "{}", texts[at].1);
    }
}

#[test]
fn labels_may_be_set_otherwise() {
    let (results, texts) = labelled();
    let check = |text: &str| differences(&results, claims_in_text("t", text).unwrap());
    for (at, from, to) in [
        (0, "\n1.0 & 0.5", "\n\\textit{1} & $0.5$"),
        (0, "a & b & seeds & top1", "$\\alpha$ & $\\beta$ & runs & Top-1 (\\%)"),
        (1, "| a | b | seeds | top1 |", "| α | β | runs | **Top-1** |"),
        (1, "| 1.0 | 0.5 |", "| *1* | `0.5` |"),
        (2, "a / b & 0.5", "\\multirow{2}{*}{size} & $0.50$"),
        (3, "| a / b | 0.5 |", "| size | 0.50 |"),
    ] {
        let (_, text) = &texts[at];
        let edited = text.replacen(from, to, 1);
        assert_ne!(edited, *text, "{from}\n{text}");
        assert_eq!(check(&edited), Vec::<String>::new(), "{edited}");
    }
    // What stands above again may be left out, and nothing else.
    let text = &texts[0].1;
    assert_eq!(text.matches("\n2.0 &").count(), 2, "{text}");
    let (first, rest) = text.split_once("\n2.0 &").unwrap();
    let grouped = format!("{first}\n\\multirow{{2}}{{*}}{{2.0}} &{}", rest.replacen("\n2.0 &", "\n &", 1));
    assert_eq!(check(&grouped), Vec::<String>::new(), "{grouped}");
    let lost = text.replacen("\n1.0 &", "\n &", 1);
    assert_eq!(check(&lost), ["nothing stands there; it is 1.0"], "{lost}");
}

#[test]
fn a_mark_on_another_cell_than_the_best_is_noticed() {
    let (results, texts) = labelled();
    for (at, bold, other, marked) in [
        (2, "\\textbf{81.56 $\\pm$ 0.09}", "81.16 $\\pm$ 0.09", "\\textbf{81.16 $\\pm$ 0.09}"),
        (3, "**81.56 ± 0.09**", "81.16 ± 0.09", "**81.16 ± 0.09**"),
    ] {
        let text = &texts[at].1;
        let unmarked = text.replacen(bold, &bold.replace("\\textbf{", "").replace(['}', '*'], ""), 1);
        assert_ne!(unmarked, *text, "{text}");
        let check = |text: &str| differences(&results, claims_in_text("t", text).unwrap());
        // Who wants no marks has none.
        assert_eq!(check(&unmarked), Vec::<String>::new());
        let said = check(&unmarked.replacen(other, marked, 1));
        let expected = "it is marked as the best of its table, and that is 81.5625 (trials 5-6)";
        assert_eq!(said, [expected], "{text}");
        // Later another cell is the best: its number is wrong, and so is the mark.
        let mut changed = results.clone();
        changed.trials[0].metrics.insert("top1".to_owned(), 99.0);
        let said = differences(&changed, claims_in_text("t", text).unwrap());
        assert!(said.len() == 2 && said[1].starts_with("it is marked as the best"), "{said:?}");
    }
}

/// Version 1 said nothing of labels and marks; its tables are read, and labels are what they were.
#[test]
fn tables_of_older_versions_are_still_checked() {
    let (results, _) = labelled();
    let note = |text: &str| {
        text.replace(
            "NOTE",
            "{\"version\":1,\"sweep\":1,\"name\":\"demo\",\"epoch\":\"last\",\"columns\":[null,\"top1\"]}",
        )
    };
    let hash = &by_configuration(&results)[0].hash;
    let row = format!(
        "sweep:row {{\"label\":[\"1.0\"],\"cells\":[{{\"configuration\":\"{hash}\",\"trials\":\"1-2\"}}]}}"
    );
    let text = note(&format!("% sweep:table NOTE\nx & y \\\\\n1.0 & 80.56 \\\\ % {row}\n"));
    let check = |text: &str| differences(&results, claims_in_text("t", text).unwrap());
    assert_eq!(check(&text), Vec::<String>::new());
    assert_eq!(check(&text.replace("1.0 &", "2.0 &")), ["`2.0` stands there; it is 1.0"]);
    assert_eq!(check(&text.replace("80.56", "80.57")).len(), 1);
}

#[test]
fn drawn_numbers_are_shown_short_and_found_again() {
    let drawn = [0.001_234_567_890_123_4, 0.012_345_678_901_234_5];
    let results = grid(&drawn, &[0.5], 1, &[("top1", &|a, _, _| 80.0 + a)]);
    let (view, origin) = (View::usual(&results), TableOrigin::of_last_epoch(&results));
    let pivot = Pivot::new(&view, &"b,a".parse().unwrap()).unwrap();
    for sheets in [vec![results_sheet(&view, None)], pivot_sheets(&view, &pivot, None)] {
        for text in [latex(&sheets, &origin), markdown(&sheets, &origin)] {
            assert!(text.contains("0.001235") && !text.contains("0.0012345"), "{text}");
            let check = |text: &str| differences(&results, claims_in_text("t", text).unwrap());
            assert_eq!(check(&text), Vec::<String>::new(), "{text}");
            let edited = text.replacen("0.001235", "0.001236", 1);
            assert!(check(&edited).iter().any(|said| said.starts_with("`0.001236` stands there")), "{text}");
        }
    }
    let csv = results_records(&view, None, &origin).csv().unwrap();
    assert!(csv.contains("0.0012345678901234"), "{csv}");
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
            assert_eq!(count_of_numbers(&claims), 8, "{csv}");
            assert_eq!(differences(&results, claims.clone()), Vec::<String>::new());
            let said = differences_of_numbers(&changed, claims);
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(said[0].starts_with("it is 59.4"), "{}", said[0]);
        }
    }
    let document = crate::report::json::ResultsDocument::new(&view, &origin, None);
    let json = serde_json::to_string(&document).unwrap();
    let claims = claims_in_json("t.json", &json).unwrap();
    assert_eq!((count_of_numbers(&claims), differences(&results, claims.clone())), (8, vec![]));
    assert_eq!(differences(&changed, claims).len(), 1);
}

#[test]
fn wrong_labels_and_marks_are_noticed_in_tables_for_machines() {
    let (results, _) = labelled();
    let (view, origin) = (View::usual(&results), TableOrigin::of_last_epoch(&results));
    let pivot = Pivot::new(&view, &"a,b".parse().unwrap()).unwrap();
    let sheets = pivot_sheets(&view, &pivot, None);
    let csv = results_records(&view, None, &origin).csv().unwrap();
    let of_pivot = pivot_records(&view, &pivot, &sheets, &origin).csv().unwrap();
    let document = crate::report::json::ResultsDocument::new(&view, &origin, None);
    let json = serde_json::to_string(&document.with_pivot(&view, &pivot, &sheets)).unwrap();
    let check_csv = |text: &str| differences(&results, claims_in_csv("t", text).unwrap());
    let check_json = |text: &str| differences(&results, claims_in_json("t", text).unwrap());
    let said_by = |said: Vec<String>, expected: &str| assert_eq!(said, [expected]);
    for (from, to, said) in [
        (",5-6,2,2,2,0.5,", ",5-6,2,2,7,0.5,", "`7` stands there; it is 2.0"),
        (",5-6,2,2,2,0.5,", ",5-6,3,2,2,0.5,", "`3` stands there; it is 2"),
        (",5-6,2,2,2,0.5,", ",5-6,2,1,2,0.5,", "`1` stands there; it is 2"),
    ] {
        assert!(csv.contains(from), "{csv}");
        said_by(check_csv(&csv.replacen(from, to, 1)), said);
        said_by(check_csv(&of_pivot.replacen(from, to, 1)), said);
    }
    // A column that somebody has added is their own.
    let added: String = csv.lines().map(|line| format!("{line},note\n")).collect();
    assert_eq!(check_csv(&added), Vec::<String>::new());
    let marked = of_pivot.replace(",true", ",FALSE").replacen(",false", ",true", 1);
    let best = "it is marked as the best of its table, and that is 81.5625 (trials 5-6)";
    said_by(check_csv(&marked), best);
    for (from, to, said) in [
        ("\"parameters\":{\"a\":2.0,", "\"parameters\":{\"a\":7.0,", "`7.0` stands there; it is 2.0"),
        ("\"trials\":\"5-6\",\"seeds\":2", "\"trials\":\"5-6\",\"seeds\":3", "`3` stands there; it is 2"),
        ("\"row\":[\"1.0\"]", "\"row\":[\"7.0\"]", "`7.0` stands there; it is 1.0"),
        ("\"mean\":80.5625,\"std\"", "\"mean\":80.5,\"std\"", "it is 80.5625 ± 0.08838834764831845"),
        ("\"best\":false", "\"best\":true", best),
    ] {
        // Trials stand before; of them nothing is checked.
        let (trials, rest) = json.split_once("\"configurations\":").unwrap();
        assert!(rest.contains(from), "{from} {json}");
        let edited = format!("{trials}\"configurations\":{}", rest.replacen(from, to, 1));
        said_by(check_json(&edited), said);
    }
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
