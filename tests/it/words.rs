//! What the documents say in the same words.

use crate::support::process::root;

/// The promise, as a quotation.
fn promise(document: &str) -> String {
    let text = std::fs::read_to_string(root().join(document)).unwrap();
    let mut quotations = text.lines().filter(|line| line.starts_with("> **A check"));
    quotations
        .next()
        .unwrap_or_else(|| panic!("{document} quotes no promise"))
        .to_owned()
}

#[test]
fn the_readme_quotes_the_promise_word_for_word() {
    assert_eq!(promise("README.md"), promise("docs/promise.md"));
}
