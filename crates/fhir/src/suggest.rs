//! "Did you mean …?" for misspelt names.

/// The candidate nearest to `text`: the same but for case, or within two edits (one for short words).
pub(crate) fn nearest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = match text.len() {
        0..=1 => 0,
        2..=4 => 1,
        5..=64 => 2,
        _ => return None,
    };
    let mut best: Option<(usize, &str)> = None;
    for c in candidates {
        let cost = if c.eq_ignore_ascii_case(text) { 0 } else { distance(text, c, allowed) };
        if cost <= allowed && best.is_none_or(|(b, name)| (cost, c) < (b, name)) {
            best = Some((cost, c));
        }
    }
    best.map(|(_, c)| c)
}

/// Optimal string alignment distance over bytes; anything above `limit` is only known to be above.
fn distance(a: &str, b: &str, limit: usize) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len().abs_diff(b.len()) > limit {
        return limit + 1;
    }
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn table() {
        let names = ["birthDate", "gender", "given", "name", "id"];
        for (text, expected) in [
            ("birthdate", Some("birthDate")),
            ("brithDate", Some("birthDate")),
            ("nmae", Some("name")),
            ("ID", Some("id")),
            ("x", None),
            ("surname", None),
            ("", None),
        ] {
            assert_eq!(nearest(text, names.into_iter()), expected, "{text}");
        }
    }
}
