//! Rules of the page's files: types, sizes, and nothing inline.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use panda::http::page::assets::COMMON_MODULES;
use panda_testing::installed::installed;
use panda_testing::{root, text};
use regex::Regex;
use reqwest::header::ACCEPT_ENCODING;
use tokio::process::Command;

use crate::http::{Api, Fixture};
use crate::support::db::TestDb;

/// Largest first view, compressed, in bytes: HTML, scripts, styles, icons and texts.
const FIRST_VIEW: usize = 60_000;

/// Longest component, in lines.
const COMPONENT: usize = 200;

/// Addresses of other hosts that people may follow, and the namespace of SVG.
const LINKS: [&str; 2] = ["https://github.com/", "http://www.w3.org/2000/svg"];

/// Files of a folder and of the folders in it.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) = entries.partition(|path| path.is_dir());
    let files: Vec<PathBuf> =
        files.into_iter().filter(|path| path.extension().is_some_and(|found| found == ending)).collect();
    assert!(!files.is_empty(), "{folder} is not read");
    let name = |path: &Path| format!("{folder}/{}", path.file_name().unwrap().to_str().unwrap());
    files.into_iter().chain(folders.iter().flat_map(|path| self::files(&name(path), ending))).collect()
}

#[tokio::test]
async fn page_scripts__pass_strict_type_check() {
    let compiler = installed().join("node_modules/typescript/bin/tsc");
    let mut command = Command::new("node");
    command.arg(compiler).args(["--listFiles", "-p"]).arg(root().join("page/tsconfig.json")).kill_on_drop(true);
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    for component in files("page/components", "js") {
        assert!(said.contains(component.to_str().unwrap()), "{} is not checked", component.display());
    }
}

#[test]
fn page_scripts__are_small_and_write_no_markup() {
    let wrong = Regex::new(
        r#"(inner|outer)HTML *=[^=]|insertAdjacentHTML|document\.write|[^a-z]eval\(|new Function|setAttribute\("style""#,
    )
    .unwrap();
    for path in files("page/components", "js") {
        let script = std::fs::read_to_string(&path).unwrap();
        let lines = script.lines().count();
        assert!(lines < COMPONENT, "{} has {lines} lines", path.display());
        assert!(!wrong.is_match(&script), "{}: {:?}", path.display(), wrong.find(&script));
        assert_no_foreign_address(&path, &script);
    }
}

#[test]
fn page_templates__have_nothing_inline() {
    let wrong = Regex::new(r"[ \n]style=|<style|[ \n]on[a-z]+=|javascript:|<script(?:[^>]*)>[^<]").unwrap();
    for path in files("page/templates", "html") {
        let template = std::fs::read_to_string(&path).unwrap();
        assert!(!wrong.is_match(&template), "{}: {:?}", path.display(), wrong.find(&template));
        assert_no_foreign_address(&path, &template);
    }
    for path in files("page/styles", "css") {
        let style = std::fs::read_to_string(&path).unwrap();
        assert!(!style.contains("@import") && !style.contains("url("), "{}", path.display());
    }
}

fn assert_no_foreign_address(path: &Path, text: &str) {
    for (at, _) in text
        .match_indices("http")
        .filter(|(at, _)| text[*at..].starts_with("https://") || text[*at..].starts_with("http://"))
    {
        assert!(LINKS.iter().any(|link| text[at..].starts_with(link)), "{}: {:.60}", path.display(), &text[at..]);
    }
}

/// Modules that `name` imports, directly or not, with itself.
fn imported(name: &str, found: &mut BTreeSet<String>) {
    if !found.insert(name.to_owned()) {
        return;
    }
    let import = Regex::new(r#"(?m)^(?:import|export) [^;"]*"\./([^"]+)""#).unwrap();
    for module in import.captures_iter(&text(&format!("page/{name}"))) {
        imported(&format!("components/{}", &module[1]), found);
    }
}

#[test]
fn page_modules__are_preloaded_as_they_are_imported() {
    let mut modules = BTreeSet::new();
    imported("components/app.js", &mut modules);
    modules.remove("components/app.js");
    let preloaded: BTreeSet<String> = COMMON_MODULES.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(modules, preloaded);
}

#[tokio::test]
async fn page_views__first_load_is_small() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    for at in 0..60 {
        let mut deployment = Fixture::begin_of(&db.db, "acme", &format!("shop-{at}")).await;
        deployment.fail().await;
    }
    let size = async |path: &str| {
        let request = api.request(reqwest::Method::GET, path).header(ACCEPT_ENCODING, "gzip");
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().len())
    };
    let file = Regex::new(r#"(?:href|src)="(/assets/[^"]+)""#).unwrap();
    let mut seen = 0;
    for view in [
        "/",
        "/history",
        "/integrations",
        "/new",
        "/schedules",
        "/connections",
        "/freezes",
        "/policies",
        "/policies/acme/shop",
        "/audit",
        "/tokens",
        "/sign-in",
    ] {
        let html = api.get(view).await;
        if html.status != 200 {
            continue;
        }
        seen += 1;
        let mut total = size(view).await.1;
        let files: BTreeSet<&str> =
            file.captures_iter(&html.text).map(|found| found.get(1).unwrap().as_str()).collect();
        assert!(files.len() > 10, "{view}: {files:?}");
        for name in files {
            let (status, bytes) = size(name).await;
            assert_eq!(status, 200, "{name}");
            total += bytes;
        }
        println!("{view}: {total} bytes");
        assert!(total <= FIRST_VIEW, "{view} takes {total} bytes");
    }
    assert!(seen >= 2);
}
