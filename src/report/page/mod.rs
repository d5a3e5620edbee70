//! `sweep report`: one page that needs nothing else, made of a document and the templates in `templates/report/`.
//!
//! `document` says what is known of the sweep, as numbers and texts; the page's script draws it. Nothing that a spec, a program or
//! a log says becomes markup: the document is JSON in which `<` is escaped, and the script only ever sets text.

mod document;
mod tree;

pub use document::{PageDocument, PageParts};
pub use tree::{Block, blocks};

use handlebars::Handlebars;
use serde::Serialize;

const PAGE: &str = include_str!("../../../templates/report/page.html.hbs");
pub const STYLE: &str = include_str!("../../../templates/report/style.css");
pub const FIGURES: &str = include_str!("../../../templates/report/figures.js");
pub const TABLES: &str = include_str!("../../../templates/report/tables.js");
const PAGE_SCRIPT: &str = include_str!("../../../templates/report/page.js");
/// Light or dark.
pub const THEME: &str = include_str!("../../../templates/report/theme.js");
/// Heat maps, lines, bars and points, of version 4.1.1, as its authors publish it (`plotly.js-cartesian-dist-min`).
pub const PLOTLY: &str = include_str!("../../../templates/vendor/plotly-cartesian-4.1.1.min.js");

/// A page that can't be made, which is a fault of ours.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    #[error("the report's template is wrong")]
    Template(#[from] Box<handlebars::RenderError>),
    #[error("the report's numbers can't be written")]
    Document(#[from] serde_json::Error),
}

/// What the template fills in.
#[derive(Serialize)]
struct Filled<'a> {
    title: &'a str,
    style: &'static str,
    plotly: &'static str,
    scripts: String,
    document: String,
}

/// The whole page.
///
/// # Errors
/// When the template or the document is faulty.
pub fn page(document: &PageDocument<'_>) -> Result<String, PageError> {
    let filled = Filled {
        title: document.name(),
        style: STYLE,
        plotly: PLOTLY,
        scripts: [TABLES, FIGURES, THEME, PAGE_SCRIPT].concat(),
        document: as_script(&serde_json::to_string(document)?),
    };
    Handlebars::new().render_template(PAGE, &filled).map_err(|error| Box::new(error).into())
}

/// JSON that may stand in a `script` element: nothing in it ends the element or begins a comment, and it is the same JSON.
fn as_script(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => text += "\\u003c",
            '>' => text += "\\u003e",
            '&' => text += "\\u0026",
            '\u{2028}' => text += "\\u2028",
            '\u{2029}' => text += "\\u2029",
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_the_document_is_markup() {
        let text = as_script(r#"{"a":"</script><!--&\u2028"}"#);
        assert!(!text.contains(['<', '>', '&']), "{text}");
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["a"], "</script><!--&\u{2028}");
    }

    #[test]
    fn what_is_embedded_does_not_end_its_element() {
        for script in [PLOTLY, FIGURES, TABLES, PAGE_SCRIPT] {
            assert!(!script.to_lowercase().contains("</script"));
        }
        assert!(!STYLE.to_lowercase().contains("</style"));
    }
}
