//! Which file of the sources uses which.
//!
//! A name is followed to the file that defines it, through every `use` and `pub use`, so that a file that hands on the names of others is
//! not what their users depend on. Tests and what stands behind `cfg(test)` are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Item, ItemMod, ItemUse, Macro, Meta, Token, UseTree, Visibility};

/// A path of modules and names, the first of which is the crate.
type Names = Vec<String>;

/// The modules of all crates, by their paths.
pub struct Sources {
    modules: BTreeMap<Names, Module>,
}

#[derive(Default)]
struct Module {
    file: String,
    /// What the file defines.
    items: BTreeSet<String>,
    /// What its `use` declarations call by which name.
    imports: BTreeMap<String, Names>,
    /// The modules all of whose names it hands on or takes.
    globs: Vec<Names>,
    /// Every path that it names, as it stands there.
    paths: Vec<Names>,
}

impl Sources {
    /// Reads crates: each has a name, and its files in a directory.
    pub fn read(crates: &[(&str, &Path)]) -> Self {
        let mut modules = BTreeMap::new();
        for (name, directory) in crates {
            read(name, directory, directory, &mut modules);
        }
        Self { modules }
    }

    /// For every file but the root of a crate those that it uses. Files are named by their paths in the directory of the crate.
    pub fn uses(&self) -> BTreeMap<String, BTreeSet<String>> {
        let used = |(path, module): (&Names, &Module)| {
            let mut files = BTreeSet::new();
            for named in &module.paths {
                files.extend(self.absolute(path, named).and_then(|p| self.home(&p, 0)));
            }
            files.remove(&module.file);
            files.remove(ROOT);
            (module.file.clone(), files)
        };
        let modules = self.modules.iter().filter(|(path, _)| path.len() > 1);
        let uses: BTreeMap<_, _> = modules.clone().map(used).collect();
        let count = modules.count();
        assert_eq!(uses.len(), count, "two crates have a file of the same name");
        uses
    }

    /// The path from the root of what this module calls so; `None` for what is of another crate, or local.
    fn absolute(&self, module: &Names, named: &[String]) -> Option<Names> {
        let (first, rest) = named.split_first()?;
        let mut path = match first.as_str() {
            "crate" => module[..1].to_vec(),
            "self" => module.clone(),
            "super" => {
                let mut parent = module.clone();
                parent.pop();
                let mut rest = rest;
                while let Some((next, more)) = rest.split_first()
                    && next == "super"
                {
                    parent.pop();
                    rest = more;
                }
                parent.extend_from_slice(rest);
                return Some(parent);
            }
            name => {
                let child = [module.as_slice(), &[name.to_owned()]].concat();
                let is_crate = self.modules.contains_key(&vec![name.to_owned()]);
                if self.modules.contains_key(&child) {
                    child
                } else if is_crate {
                    vec![name.to_owned()]
                } else {
                    let import = self.modules.get(module)?.imports.get(name)?;
                    if import.first()? == name {
                        return None;
                    }
                    self.absolute(module, import)?
                }
            }
        };
        path.extend_from_slice(rest);
        Some(path)
    }

    /// The file that defines what is at this path, or that in which it is a part of something.
    fn home(&self, path: &Names, depth: usize) -> Option<String> {
        assert!(depth < 20, "{path:?} leads nowhere");
        let known = (0..=path.len())
            .rev()
            .find(|n| self.modules.contains_key(&path[..*n]))?;
        let (at, rest) = path.split_at(known);
        let module = &self.modules[at];
        let Some((name, more)) = rest.split_first() else {
            return Some(module.file.clone());
        };
        if module.items.contains(name) {
            return Some(module.file.clone());
        }
        let at = at.to_vec();
        if let Some(import) = module.imports.get(name) {
            let mut path = self.absolute(&at, import)?;
            path.extend_from_slice(more);
            return self.home(&path, depth + 1);
        }
        let through = |glob: &Names| {
            let mut path = self.absolute(&at, glob)?;
            path.push(name.clone());
            let known = self.modules.get(&path[..path.len() - 1])?;
            (known.items.contains(name) || known.imports.contains_key(name))
                .then(|| self.home(&path, depth + 1))?
        };
        module.globs.iter().find_map(through)
    }
}

/// The file that is the root of a library.
const ROOT: &str = "lib.rs";

fn read(krate: &str, root: &Path, directory: &Path, modules: &mut BTreeMap<Names, Module>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if ["tests", "testing", "scripted_store", "main"].contains(&name) {
            continue;
        }
        if path.is_dir() {
            read(krate, root, &path, modules);
            continue;
        }
        if path.extension().is_none_or(|e| e != "rs") {
            continue;
        }
        let file = path.strip_prefix(root).unwrap();
        let mut names: Names = vec![krate.to_owned()];
        let steps = file.with_extension("");
        names.extend(steps.iter().map(|n| n.to_str().unwrap().to_owned()));
        if name == "mod" || file == Path::new(ROOT) {
            names.pop();
        }
        let mut module = Module {
            file: file.to_str().unwrap().to_owned(),
            ..Module::default()
        };
        module.visit_file(&syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap());
        modules.insert(names, module);
    }
}

impl Module {
    fn import(&mut self, tree: &UseTree, mut path: Names, handed_on: bool) {
        match tree {
            UseTree::Path(step) => {
                path.push(step.ident.to_string());
                self.import(&step.tree, path, handed_on);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, path.clone(), handed_on);
                }
            }
            UseTree::Glob(_) => self.globs.push(path),
            UseTree::Name(name) => self.call(
                name.ident.to_string(),
                name.ident.to_string(),
                path,
                handed_on,
            ),
            UseTree::Rename(name) => self.call(
                name.rename.to_string(),
                name.ident.to_string(),
                path,
                handed_on,
            ),
        }
    }

    fn call(&mut self, name: String, ident: String, mut path: Names, handed_on: bool) {
        let name = if name == "self" {
            path.last().unwrap().clone()
        } else {
            name
        };
        if ident != "self" {
            path.push(ident);
        }
        // Who hands on a name of its child does not use it.
        if !handed_on {
            self.paths.push(path.clone());
        }
        self.imports.insert(name, path);
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|a| matches!(&a.meta, Meta::List(l) if l.path.is_ident("cfg") && l.tokens.to_string().starts_with("test")))
}

impl<'ast> Visit<'ast> for Module {
    fn visit_item(&mut self, item: &'ast Item) {
        let (attributes, name) = match item {
            Item::Const(i) => (&i.attrs, Some(&i.ident)),
            Item::Enum(i) => (&i.attrs, Some(&i.ident)),
            Item::Fn(i) => (&i.attrs, Some(&i.sig.ident)),
            Item::Static(i) => (&i.attrs, Some(&i.ident)),
            Item::Struct(i) => (&i.attrs, Some(&i.ident)),
            Item::Trait(i) => (&i.attrs, Some(&i.ident)),
            Item::Type(i) => (&i.attrs, Some(&i.ident)),
            Item::Macro(i) => (&i.attrs, i.ident.as_ref()),
            Item::Impl(i) => (&i.attrs, None),
            Item::Mod(i) => (&i.attrs, None),
            Item::Use(i) => (&i.attrs, None),
            _ => return visit::visit_item(self, item),
        };
        if is_test(attributes) {
            return;
        }
        self.items.extend(name.map(ToString::to_string));
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if module.content.is_some() {
            self.items.insert(module.ident.to_string());
        }
        visit::visit_item_mod(self, module);
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let handed_on = !matches!(item.vis, Visibility::Inherited);
        self.import(&item.tree, vec![], handed_on);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            self.paths
                .push(path.segments.iter().map(|s| s.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        let arguments = called.parse_body_with(Punctuated::<Expr, Token![,]>::parse_terminated);
        for argument in arguments.iter().flatten() {
            self.visit_expr(argument);
        }
        visit::visit_macro(self, called);
    }
}
