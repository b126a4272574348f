//! The rooms of docs/architecture.md: which may use which is what the table there says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use walkdir::WalkDir;

/// What any room may use: empty without its feature.
const ANYWHERE: &str = "failpoints";

/// The words in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Room, and what it may use, of each row of the table; a room within another one has a row of its own only where that is narrower.
fn table(rooms: &BTreeSet<String>) -> BTreeMap<String, BTreeSet<String>> {
    let document = include_str!("../../docs/architecture.md");
    let rows = document.lines().filter(|line| line.starts_with("| `src/"));
    let mut table = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').rsplitn(2, " | ").collect();
        let named: BTreeSet<String> = quoted(cells[0]).map(str::to_owned).collect();
        let may = match cells[0].trim() {
            "everything" => rooms.clone(),
            text if text.starts_with("everything but ") => rooms - &named,
            _ => named,
        };
        for path in quoted(cells[1].split(" | ").next().unwrap()) {
            let room = path.trim_start_matches("src/").trim_end_matches('/').trim_end_matches(".rs");
            table.insert(room.to_owned(), may.clone());
        }
    }
    table
}

#[test]
fn each_room_uses_the_rooms_that_the_architecture_allows_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let room_of = |name: &str| name.trim_end_matches(".rs").to_owned();
    let rooms: BTreeSet<String> = std::fs::read_dir(&src)
        .unwrap()
        .map(|entry| room_of(entry.unwrap().file_name().to_str().unwrap()))
        .filter(|room| room != "lib")
        .collect();
    let table = table(&rooms);
    assert!(rooms.iter().all(|room| table.contains_key(room)), "a room is not in the table: {rooms:?}");
    let mut wrong = Vec::new();
    for file in WalkDir::new(&src).into_iter().map(Result::unwrap).filter(|entry| entry.path().extension().is_some()) {
        let path = file.path().strip_prefix(&src).unwrap();
        let room = room_of(path.components().next().unwrap().as_os_str().to_str().unwrap());
        if room == "lib" {
            continue;
        }
        let text = std::fs::read_to_string(file.path()).unwrap();
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for used in line.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let is_fine =
                    !rooms.contains(&used) || used == room || used == ANYWHERE || table[&room].contains(&used);
                if !is_fine {
                    wrong.push(format!("{}: {used}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "docs/architecture.md does not allow these:\n{}", wrong.join("\n"));
}
