//! N1: statements are made of fixed pieces, numbers and placeholders; values go beside them.
//!
//! What goes into a statement by `format!` is the name of a table, a list of columns, a condition made elsewhere, a number of
//! ours or a placeholder. Something between quotes would be a value, so nothing may be put there. That nothing a client
//! sends gets into a text by another way is what `record it::statements` watches while it runs.

use std::path::Path;

const WORDS: &[&str] = &[
    "SELECT ",
    "INSERT INTO ",
    "UPDATE ",
    "DELETE FROM ",
    "WHERE ",
    " AND ",
    " OR ",
    " IN (",
    "ORDER BY ",
    "LIMIT ",
    "EXISTS ",
    "CREATE ",
    "ALTER ",
    "DROP ",
];

/// Names of tables and sequences stand in quotes where all of them are gone through; they come from the database's own
/// catalogue.
const EXCEPTIONS: &[&str] = &["frozen.rs", "transfer.rs"];

/// Adds what is wrong with a file of `store`.
pub fn check(file: &Path, shown: &str, text: &str, problems: &mut Vec<String>) {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    if EXCEPTIONS.contains(&&*name) || shown.contains("test_support") || shown.ends_with("tests.rs") {
        return;
    }
    let program = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    for (at, literal) in formats(program) {
        if WORDS.iter().any(|word| literal.contains(word)) && fills_quotes(literal) {
            let line = program[..at].matches('\n').count() + 1;
            problems.push(format!("{shown}:{line}: a value belongs beside the statement, not into its text"));
        }
    }
}

/// The first literal of each `format!`, `write!` and `writeln!`, as it is written, and where it begins.
fn formats(text: &str) -> Vec<(usize, &str)> {
    let mut all = Vec::new();
    for (at, _) in text.match_indices("!(") {
        let before = text[..at].rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next();
        if !matches!(before, Some("format" | "write" | "writeln")) {
            continue;
        }
        // Behind the writer, if there is one, and before the end of the call.
        let Some(open) = text[at..].find('"').map(|n| at + n + 1) else { continue };
        if text[at..open].contains(')') {
            continue;
        }
        let mut escaped = false;
        let end = text[open..].find(|c| {
            let is_end = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            is_end
        });
        if let Some(end) = end {
            all.push((open, &text[open..open + end]));
        }
    }
    all
}

/// Whether something is put between two single quotes, or into a name in double quotes.
fn fills_quotes(literal: &str) -> bool {
    let literal = literal.replace("{{", "").replace("}}", "").replace("\\\"", "\u{1}");
    let (mut single, mut double) = (false, false);
    for c in literal.chars() {
        match c {
            '\'' if !double => single = !single,
            '\u{1}' if !single => double = !double,
            '{' if single || double => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        let mut problems = Vec::new();
        check(Path::new("search.rs"), "search.rs", text, &mut problems);
        problems
    }

    #[test]
    fn values_in_texts_are_named() {
        for wrong in [
            "format!(\"SELECT a FROM b WHERE c = '{name}'\")",
            "format!(\n    \"UPDATE b SET c = 'x{}' WHERE d = 1\",\n    name)",
            "write!(sql, \" AND c LIKE '%{}%'\", name)",
            "format!(\"SELECT \\\"{column}\\\" FROM b\")",
            "format!(\"SELECT a FROM b ORDER BY '{by}'\")",
        ] {
            assert_eq!(lines(wrong).len(), 1, "{wrong}");
        }
        assert_eq!(lines("// a\n\nformat!(\"SELECT '{x}' FROM b\")")[0].split(':').nth(1), Some("3"));
    }

    #[test]
    fn pieces_and_placeholders_are_fine() {
        for right in [
            "format!(\"SELECT {COLUMNS} FROM {table} WHERE id = $1\")",
            "write!(sql, \" AND c = ${}\", values.len())",
            "format!(\"SELECT a FROM b WHERE c = 'fixed' AND {condition}\")",
            "format!(\"it's {name}, a sentence\")",
            "panic!(\"SELECT '{name}'\")",
            "let a = 1;\n#[cfg(test)]\nmod tests {\n  format!(\"SELECT '{name}'\")\n}",
        ] {
            assert_eq!(lines(right), Vec::<String>::new(), "{right}");
        }
    }
}
