//! Methods of `Db` that write, read from the syntax of `src/db`: those with an INSERT, UPDATE or DELETE, and those that call such a function.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::visit::{self, Visit};
use walkdir::WalkDir;

/// A function of `src/db`.
#[derive(Default)]
struct Function {
    is_method: bool,
    writes: bool,
    /// Names of methods and functions that it calls.
    methods: BTreeSet<String>,
    functions: BTreeSet<String>,
}

/// Names of the methods of `Db` that write, with `begin`, which returns a transaction to its caller.
pub fn writing_methods(folder: &Path) -> BTreeSet<String> {
    let mut found: BTreeMap<String, Function> = BTreeMap::new();
    for file in rust_files(folder) {
        Functions { found: &mut found, of_db: false }.visit_file(&file);
    }
    loop {
        let writers = |is_method| -> BTreeSet<String> {
            let all = found.iter().filter(|(_, function)| function.writes && function.is_method == is_method);
            all.map(|(name, _)| name.clone()).collect()
        };
        let (mut methods, functions) = (writers(true), writers(false));
        let mut changed = false;
        for function in found.values_mut().filter(|function| !function.writes) {
            function.writes = !function.methods.is_disjoint(&methods) || !function.functions.is_disjoint(&functions);
            changed |= function.writes;
        }
        if !changed {
            methods.insert("begin".to_owned());
            return methods;
        }
    }
}

/// Methods that are called in `folder`, outside tests.
pub fn called_methods(folder: &Path) -> BTreeSet<String> {
    let mut called = Calls::default();
    rust_files(folder).for_each(|file| called.visit_file(&file));
    called.0.methods
}

fn rust_files(folder: &Path) -> impl Iterator<Item = syn::File> {
    let files = WalkDir::new(folder).into_iter().map(Result::unwrap);
    let files = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "rs"));
    files.map(|file| syn::parse_file(&std::fs::read_to_string(file.path()).unwrap()).unwrap())
}

struct Functions<'a> {
    found: &'a mut BTreeMap<String, Function>,
    of_db: bool,
}

impl Functions<'_> {
    fn add(&mut self, name: &syn::Ident, block: &syn::Block) {
        let mut calls = Calls::default();
        calls.visit_block(block);
        let function = self.found.entry(name.to_string()).or_default();
        function.is_method |= self.of_db;
        function.writes |= calls.0.writes;
        function.methods.extend(calls.0.methods);
        function.functions.extend(calls.0.functions);
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if module.ident != "tests" {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.of_db = matches!(&*item.self_ty, syn::Type::Path(of) if of.path.is_ident("Db"));
        visit::visit_item_impl(self, item);
        self.of_db = false;
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if self.of_db {
            self.add(&function.sig.ident, &function.block);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(&function.sig.ident, &function.block);
    }
}

/// What a block calls, and whether it has a statement that writes.
#[derive(Default)]
struct Calls(Function);

impl<'ast> Visit<'ast> for Calls {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if module.ident != "tests" {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.0.methods.insert(call.method.to_string());
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let syn::Expr::Path(function) = &*call.func
            && let Some(last) = function.path.segments.last()
        {
            self.0.functions.insert(last.ident.to_string());
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_macro(&mut self, used: &'ast syn::Macro) {
        let text = used.tokens.to_string();
        self.0.writes |= ["INSERT INTO ", "UPDATE ", "DELETE FROM "].iter().any(|statement| {
            // `FOR UPDATE` and `DO UPDATE` are parts of other statements.
            text.match_indices(statement).any(|(at, _)| !text[..at].ends_with("FOR ") && !text[..at].ends_with("KEY "))
        });
        visit::visit_macro(self, used);
    }
}

#[test]
fn methods_that_write_are_found_through_calls() {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"
        impl Db {
            fn reads() { query!("SELECT id FROM t FOR UPDATE SKIP LOCKED"); }
            fn writes() { query!("WITH x AS (SELECT 1) INSERT INTO t VALUES (1)"); }
            fn calls_a_method(&self) { self.writes(); }
            fn calls_a_function() { inner::erase(); }
        }
        fn erase() { query!("DELETE FROM t"); }
    "#;
    std::fs::write(folder.path().join("db.rs"), text).unwrap();
    let found: Vec<String> = writing_methods(folder.path()).into_iter().collect();
    assert_eq!(found, ["begin", "calls_a_function", "calls_a_method", "writes"]);
}
