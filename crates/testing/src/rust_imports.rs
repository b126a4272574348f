//! Imports of each file of a crate, read from its syntax: grouped imports, `super::` and paths in the code included, tests left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::visit::{self, Visit};
use walkdir::WalkDir;

/// The files of a crate as modules, and what they use of each other.
pub struct Imports {
    /// By the path of a module, such as `http::sse`: the modules that it names.
    files: BTreeMap<String, BTreeSet<String>>,
}

/// Reads the crate whose source is in `folder`.
pub fn read(folder: &Path) -> Imports {
    let mut paths = BTreeMap::new();
    let files = WalkDir::new(folder).into_iter().map(Result::unwrap);
    for file in files.filter(|file| file.path().extension().is_some_and(|extension| extension == "rs")) {
        let path = file.path().strip_prefix(folder).unwrap().with_extension("");
        let mut module: Vec<String> = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if module.last().is_some_and(|name| name == "mod") || module == ["lib"] {
            module.pop();
        }
        if module.last().is_some_and(|name| name == "tests") {
            continue;
        }
        let syntax = syn::parse_file(&std::fs::read_to_string(file.path()).unwrap()).unwrap();
        let mut found = Found { module: module.clone(), paths: Vec::new() };
        found.visit_file(&syntax);
        paths.insert(module.join("::"), found.paths);
    }
    let known: BTreeSet<String> = paths.keys().cloned().collect();
    let files = paths.into_iter().map(|(module, used)| {
        let used = used.into_iter().map(|path| file_of(path, &known)).filter(|path| *path != module).collect();
        (module, used)
    });
    Imports { files: files.collect() }
}

/// The file in which the item at `path` is.
fn file_of(mut path: Vec<String>, known: &BTreeSet<String>) -> String {
    while !path.is_empty() && !known.contains(&path.join("::")) {
        path.pop();
    }
    path.join("::")
}

impl Imports {
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    pub fn uses(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().flat_map(|(from, used)| used.iter().map(move |to| (from.as_str(), to.as_str())))
    }

    /// Groups of siblings (files or folders of one folder) that import each other, directly or through other siblings. A folder is one module for
    /// its siblings; a module and what is inside it may use each other.
    pub fn circles(&self) -> BTreeSet<String> {
        let mut siblings: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in
            self.uses().filter(|(from, to)| !joins_errors(from, to)).filter_map(|(from, to)| siblings_of(from, to))
        {
            siblings.entry(from).or_default().insert(to);
        }
        let next = |from: &str| siblings.get(from).into_iter().flatten();
        let reachable = |from: &str| {
            let (mut seen, mut open) = (BTreeSet::new(), next(from).collect::<Vec<_>>());
            while let Some(module) = open.pop() {
                if seen.insert(module) {
                    open.extend(next(module));
                }
            }
            seen
        };
        let circle = |from: &String| {
            let group = reachable(from).into_iter().filter(|to| reachable(to).contains(from));
            group.cloned().collect::<Vec<_>>().join(", ")
        };
        siblings.keys().map(circle).filter(|group| !group.is_empty()).collect()
    }
}

/// True if an error module names the error module of an area that it joins (`#[from]`): the one import that leads from a shared module to its users.
pub fn joins_errors(from: &str, to: &str) -> bool {
    from.split("::").any(|part| part == "error") && to.ends_with("::error")
}

/// The first modules in which two paths differ; none for a module and what is inside it.
fn siblings_of(from: &str, to: &str) -> Option<(String, String)> {
    let (mine, its): (Vec<&str>, Vec<&str>) = (from.split("::").collect(), to.split("::").collect());
    let common = mine.iter().zip(&its).position(|(mine, its)| mine != its)?;
    let related = from.is_empty() || to.is_empty();
    (!related).then(|| (mine[..=common].join("::"), its[..=common].join("::")))
}

/// The paths that a file names, from the crate's root.
struct Found {
    module: Vec<String>,
    paths: Vec<Vec<String>>,
}

impl Found {
    fn add(&mut self, path: Vec<String>) {
        let mut base = match path.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("self" | "super") => self.module.clone(),
            _ => return,
        };
        for part in path {
            match part.as_str() {
                "crate" | "self" => {}
                "super" => {
                    base.pop();
                }
                _ => base.push(part),
            }
        }
        self.paths.push(base);
    }

    fn tree(&mut self, prefix: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.add(with(&name.ident)),
            syn::UseTree::Rename(name) => self.add(with(&name.ident)),
            syn::UseTree::Glob(_) => self.add(prefix.to_vec()),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(prefix, tree)),
        }
    }
}

impl<'ast> Visit<'ast> for Found {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test(&item.attrs) {
            self.tree(&[], &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.add(path.segments.iter().map(|part| part.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    /// The tokens of a macro are not parsed: its paths are found in its text.
    fn visit_macro(&mut self, used: &'ast syn::Macro) {
        let text = used.tokens.to_string().replace(' ', "");
        for path in text.split(|character: char| !(character.is_alphanumeric() || "_:".contains(character))) {
            self.add(path.split("::").map(str::to_owned).collect());
        }
        visit::visit_macro(self, used);
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if is_test(&module.attrs) {
            return;
        }
        self.module.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.module.pop();
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
    })
}
