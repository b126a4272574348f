//! Readers in separate processes: each printed line is an event, and the process ends when no event can follow.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use super::progress::{ForeignReader, Report};
use crate::installed::{REMEDY, installed, program};
use crate::root;

fn source(name: &str) -> PathBuf {
    root().join("crates/testing/readers").join(name)
}

/// npm's EventSource, as a front end would use it.
pub fn npm(name: &'static str, events: &str) -> ForeignReader {
    node(name, "plain.mjs", &[events])
}

/// clients/js as a program in Node.
pub fn client_js(server: &str, id: &str, language: &str) -> ForeignReader {
    node("clients/js in Node", "follow.mjs", &[server, id, language])
}

/// clients/js in Node, with a back end that gets tickets with a token.
pub fn client_js_with_tickets(server: &str, id: &str, token: &str) -> ForeignReader {
    node("clients/js with tickets", "ticketed.mjs", &[server, id, token])
}

fn node(name: &'static str, script: &str, args: &[&str]) -> ForeignReader {
    let module = root().join("clients/js/node_modules/eventsource/dist/index.js");
    assert!(module.is_file(), "{} is missing. {REMEDY}", module.display());
    run(name, &program(&["node"]), &source(script), args)
}

/// httpx-sse, reconnecting as its documentation recommends.
pub fn python(events: &str) -> ForeignReader {
    let python = installed().join("bin/python");
    assert!(python.is_file(), "{} is missing. {REMEDY}", python.display());
    run("Python's httpx-sse", &python, &source("httpx_client.py"), &[events])
}

fn run(name: &'static str, program: &Path, script: &Path, args: &[&str]) -> ForeignReader {
    let mut command = Command::new(program);
    command.arg(script).args(args.iter().map(OsStr::new)).kill_on_drop(true);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let reader = ForeignReader::new(name);
    let (reports, mut lines) = (reader.clone(), BufReader::new(child.stdout.take().unwrap()).lines());
    let mut errors = child.stderr.take().unwrap();
    // Dropped with the test's runtime, and the child with it.
    tokio::spawn(async move {
        let read = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                reports.record(serde_json::from_str(&line).unwrap());
            }
        };
        let mut said = String::new();
        let (status, (), _) = tokio::join!(child.wait(), read, errors.read_to_string(&mut said));
        let end = if status.unwrap().success() { "home".to_owned() } else { format!("without success: {said}") };
        reports.record(Report::End { end });
    });
    reader
}
