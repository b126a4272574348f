//! Fenced blocks of the documents.

use crate::{root, text};

/// Paths of the documents that have commands, sorted.
pub fn documents() -> Vec<String> {
    let mut all: Vec<String> =
        ["README.md", "CONTRIBUTING.md", "aws/README.md", "helm/panda/README.md", "clients/js/README.md"]
            .map(str::to_owned)
            .into();
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|file| file.unwrap().file_name());
    all.extend(docs.filter_map(|name| name.to_str()?.strip_suffix(".md").map(|name| format!("docs/{name}.md"))));
    all.sort();
    all
}

/// A fenced block with its place in a document.
#[derive(Clone, Debug)]
pub struct Block {
    /// Document and line, as `docs/x.md:7`.
    pub place: String,
    /// The words after the fence.
    pub info: String,
    /// The heading above it.
    pub heading: String,
    pub text: String,
}

/// The fenced blocks of a document, also those in lists.
pub fn blocks(document: &str) -> Vec<Block> {
    let markdown = text(document);
    let (mut found, mut open, mut heading) = (Vec::<Block>::new(), None, "");
    for (at, line) in markdown.lines().enumerate() {
        let inner = line.trim_start();
        match (&mut open, inner.strip_prefix("```")) {
            (None, Some(info)) => {
                let block = Block {
                    place: format!("{document}:{}", at + 1),
                    info: info.trim().to_owned(),
                    heading: heading.to_owned(),
                    text: String::new(),
                };
                open = Some((line.len() - inner.len(), block));
            }
            (Some(_), Some(_)) => found.extend(open.take().map(|(_, block)| block)),
            (Some((indent, block)), None) => {
                block.text += line.get(*indent..).unwrap_or(inner);
                block.text += "\n";
            }
            (None, None) => {
                if let Some(title) = line.strip_prefix('#') {
                    heading = title.trim_start_matches('#').trim();
                }
            }
        }
    }
    assert!(open.is_none(), "{document}: a block is not closed");
    found
}

/// The blocks of a document that are executed.
pub fn run_blocks(document: &str) -> Vec<Block> {
    blocks(document).into_iter().filter(|block| block.info == "sh run").collect()
}

/// One script of several blocks, which logs where each begins.
pub fn script(blocks: &[Block]) -> String {
    let one = |block: &Block| format!("echo '### {} ({})' >&2\n{}", block.place, block.heading, block.text);
    blocks.iter().map(one).collect::<Vec<_>>().concat()
}
