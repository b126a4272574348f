//! The chart's README lists every value and every option as described by values.yaml and the program.

use super::options::{Setting, settings};
use super::{chart, same_as_file, text};

pub struct Row {
    /// Keys joined by dots: `a.b.c`.
    pub path: String,
    default: String,
    help: String,
}

/// The described values of values.yaml: a comment that begins with `# --`, then the key.
pub fn rows() -> Vec<Row> {
    let text = text("helm/panda/values.yaml");
    let mut lines = text.lines().peekable();
    let (mut above, mut help, mut rows) = (Vec::<(usize, String)>::new(), None::<String>, Vec::new());
    while let Some(line) = lines.next() {
        let stripped = line.trim_start();
        let indent = line.len() - stripped.len();
        if let Some(text) = stripped.strip_prefix("# -- ") {
            help = Some(text.to_owned());
        } else if let Some((key, value)) = stripped.split_once(':').filter(|_| !stripped.starts_with(['#', '-'])) {
            above.retain(|(depth, _)| *depth < indent);
            let path = above.iter().map(|(_, key)| key.as_str()).chain([key]).collect::<Vec<_>>().join(".");
            above.push((indent, key.to_owned()));
            let Some(help) = help.take() else { continue };
            let deeper = |line: &&str| line.len() - line.trim_start().len() > indent;
            // Nested keys belong to the described value, and have no separate description.
            let block: Vec<&str> =
                if value.is_empty() { std::iter::from_fn(|| lines.next_if(deeper)).collect() } else { Vec::new() };
            let block = block.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
            let default = if value.is_empty() { block } else { value.trim().trim_matches('"').to_owned() };
            rows.push(Row { path, default, help });
        }
    }
    rows
}

fn code(text: &str) -> String {
    if text.is_empty() || text == "null" { String::new() } else { format!("`{text}`") }
}

/// Escapes text that would break a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[test]
fn chart_readme__tables_match_values_and_options() {
    let value = |row: &Row| format!("| `{}` | {} | {} |", row.path, code(&row.default), cell(&row.help));
    let option = |option: &Setting| {
        let (default, help) = (code(&option.default), cell(&option.help));
        format!("| `{}` | `{}` | {default} | {help} |", option.key, option.variable)
    };
    let values = rows().iter().map(value).collect::<Vec<_>>().join("\n");
    let options = settings().iter().map(option).collect::<Vec<_>>().join("\n");
    let there = text("helm/panda/README.md");
    let (before, rest) = there.split_once("<!-- values -->\n").unwrap();
    let (_, rest) = rest.split_once("<!-- end of values -->").unwrap();
    let (between, rest) = rest.split_once("<!-- options -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- end of options -->").unwrap();
    let made = format!(
        "{before}<!-- values -->\n| value | default | meaning |\n| --- | --- | --- |\n{values}\n<!-- end of values -->{between}\
         <!-- options -->\n| option | variable | default | meaning |\n| --- | --- | --- | --- |\n{options}\n<!-- end of options -->{after}"
    );
    same_as_file(&chart().join("README.md"), &made);
}
