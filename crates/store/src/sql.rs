//! Pieces of SQL text. Values never enter a text; only fragments from this crate's own source do.

/// `$first, $first+1, …`
pub(crate) fn placeholders(first: usize, count: usize) -> String {
    let mut text = String::with_capacity(count * 4);
    for n in first..first + count {
        if n > first {
            text.push(',');
        }
        text.push('$');
        text.push_str(&n.to_string());
    }
    text
}
