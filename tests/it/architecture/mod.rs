//! What ARCHITECTURE.md says of the sources: which room uses which, and that no two files need each other.

mod sources;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::support::process::root;

use sources::Sources;

type Uses = BTreeMap<String, BTreeSet<String>>;

fn uses() -> Uses {
    let at = |path| root().join(path);
    let [core, stores] = ["core", "stores"].map(|name| at(format!("crates/revoxy-{name}/src")));
    let crates = [
        ("revoxy_core", core.as_path()),
        ("revoxy_stores", stores.as_path()),
        ("revoxy", &at("src".to_owned())),
    ];
    Sources::read(&crates).uses()
}

/// The arrows that ARCHITECTURE.md draws, crate by crate: for each room those that it may use.
fn drawn() -> Uses {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, rest) = text.split_once("## Rooms and arrows").unwrap();
    let (drawings, _) = rest.split_once("\n## ").unwrap();
    let drawings = drawings.split("```").skip(1).step_by(2);
    let mut arrows = Uses::new();
    for line in drawings
        .flat_map(str::lines)
        .filter(|line| !line.is_empty())
    {
        let (room, used) = line
            .split_once("─►")
            .unwrap_or_else(|| panic!("no arrow in {line:?}"));
        let used = used.split_once('(').map_or(used, |(used, _)| used);
        let names = used.split(',').map(|name| name.trim().to_owned());
        let before = arrows.insert(
            room.trim().to_owned(),
            names.filter(|n| !n.is_empty()).collect(),
        );
        assert!(before.is_none(), "{room:?} is drawn twice");
    }
    arrows
}

/// The room of a file: the longest of the drawn ones that its path begins with.
fn room<'r>(file: &str, rooms: &'r Uses) -> &'r str {
    let path = file.strip_suffix(".rs").unwrap();
    let holds = |room: &&String| {
        path.strip_prefix(room.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let found = rooms.keys().filter(holds).max_by_key(|room| room.len());
    found.unwrap_or_else(|| panic!("ARCHITECTURE.md draws no room that holds {file}"))
}

#[test]
fn every_arrow_between_rooms_is_drawn_and_every_drawn_one_is_there() {
    let drawn = drawn();
    let mut missing = BTreeSet::new();
    let mut unused: BTreeSet<_> = drawn
        .iter()
        .flat_map(|(room, used)| used.iter().map(move |u| (room.as_str(), u.as_str())))
        .filter(|(_, used)| *used != "everything")
        .collect();
    for (file, used) in &uses() {
        let from = room(file, &drawn);
        for other in used {
            let to = room(other, &drawn);
            unused.remove(&(from, to));
            if from != to && !drawn[from].contains("everything") && !drawn[from].contains(to) {
                missing.insert(format!("{from} ─► {to}: {file} uses {other}"));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "not drawn in ARCHITECTURE.md: {missing:#?}"
    );
    assert!(
        unused.is_empty(),
        "drawn in ARCHITECTURE.md, and nowhere in the sources: {unused:#?}"
    );
}

/// What is below a file that has modules: it puts them together, so that both may name each other.
fn is_below(file: &str, parent: &str) -> bool {
    parent
        .strip_suffix("mod.rs")
        .is_some_and(|directory| file.starts_with(directory))
}

/// The shortest way from a file back to itself, if there is one.
fn circle(start: &str, uses: &Uses) -> Option<Vec<String>> {
    let mut ways = VecDeque::from([vec![start.to_owned()]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        let file = way.last()?;
        for next in uses[file].iter().filter(|next| !is_below(next, file)) {
            let longer = [way.as_slice(), std::slice::from_ref(next)].concat();
            if next == start {
                return Some(longer);
            }
            if seen.insert(next.clone()) {
                ways.push_back(longer);
            }
        }
    }
    None
}

#[test]
fn no_file_needs_itself_by_way_of_others() {
    let uses = uses();
    let circles: Vec<_> = uses
        .keys()
        .filter_map(|file| circle(file, &uses))
        .map(|way| way.join(" → "))
        .collect();
    assert!(
        circles.is_empty(),
        "files that import each other: {circles:#?}"
    );
}

/// The crates that a package needs, with these arguments of `cargo tree`.
fn needs(package: &str, arguments: &[&str]) -> BTreeSet<String> {
    let tree = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--edges", "normal", "--prefix", "none"])
        .args(["--locked", "--offline", "--package", package])
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    let tree = String::from_utf8(tree.stdout).unwrap();
    let crates = tree.lines().filter_map(|line| line.split(' ').next());
    let crates: BTreeSet<_> = crates.map(str::to_owned).collect();
    assert!(crates.contains("jsonwebtoken"), "{tree}");
    crates
}

fn are_absent(names: &[&str], from: &BTreeSet<String>) {
    let there: Vec<_> = names.iter().filter(|name| from.contains(**name)).collect();
    assert!(there.is_empty(), "{there:?}");
}

#[test]
fn the_core_needs_no_store_no_server_and_no_metrics_library() {
    let others = ["redis", "sqlx", "tonic", "axum", "hyper", "prometheus"];
    are_absent(&others, &needs("revoxy-core", &[]));
}

#[test]
fn a_build_for_one_store_compiles_no_other() {
    let only = |store| needs("revoxy", &["--no-default-features", "--features", store]);
    are_absent(&["sqlx", "libsqlite3-sys"], &only("redis"));
    are_absent(&["redis", "libsqlite3-sys"], &only("postgres"));
    are_absent(&["redis", "sqlx-postgres"], &only("sqlite"));
}
