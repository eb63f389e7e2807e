//! Suggestions for misspelt names.

/// The maximum edit distance between a misspelt name and the suggestion.
pub const TYPOS: usize = 2;

/// Returns the nearest name, the first of those that are equally near; `None` if all are too far away.
pub fn nearest<'n>(given: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let names = names.into_iter();
    let distances = names.map(|name| (strsim::damerau_levenshtein(given, name), name));
    let (distance, name) = distances.min_by_key(|(distance, _)| *distance)?;
    // Two letters are most of a short name.
    (distance <= TYPOS && distance * 3 <= name.len()).then_some(name)
}
