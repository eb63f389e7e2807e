//! Suggestions for misspelt names.

/// The maximum edit distance between a misspelt name and the suggestion.
pub const TYPOS: usize = 2;

/// Returns the name with the smallest edit distance (the first one on a tie), or `None` if all distances are
/// too large.
pub fn nearest<'n>(given: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let names = names.into_iter();
    let distances = names.map(|name| (strsim::damerau_levenshtein(given, name), name));
    let (distance, name) = distances.min_by_key(|(distance, _)| *distance)?;
    // Two edits change most of a short name, so the distance must not exceed a third of its length.
    (distance <= TYPOS && distance * 3 <= name.len()).then_some(name)
}
