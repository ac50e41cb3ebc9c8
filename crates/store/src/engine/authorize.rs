//! What a statement may do at all, whatever its text says.
//!
//! Every text is fixed or made of fixed pieces with bound values, so none of this is ever asked for. Should a piece be
//! wrong one day, SQLite itself still refuses to read another file, to load code, or to change how it keeps its promises.

use crate::Result;
use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

/// Functions that reach outside the database.
const FUNCTIONS: &[&str] =
    &["load_extension", "readfile", "writefile", "edit", "sqlcipher_export", "fts3_tokenizer"];

/// For connections that are set up; settings cannot be changed any more afterwards. Errors: the database.
pub(super) fn guard(connection: &mut Connection) -> Result<()> {
    Ok(connection.authorizer(Some(|context: AuthContext<'_>| decide(&context.action)))?)
}

fn decide(action: &AuthAction<'_>) -> Authorization {
    match action {
        // How tests fill the disk.
        AuthAction::Pragma { pragma_name: "page_count" | "max_page_count", .. }
            if cfg!(feature = "test-support") =>
        {
            Authorization::Allow
        }
        AuthAction::Attach { .. } | AuthAction::Detach { .. } | AuthAction::Pragma { .. } => {
            Authorization::Deny
        }
        AuthAction::Function { function_name }
            if FUNCTIONS.iter().any(|name| name.eq_ignore_ascii_case(function_name)) =>
        {
            Authorization::Deny
        }
        _ => Authorization::Allow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_stay_inside_the_database() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (a INTEGER)").unwrap();
        guard(&mut connection).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("other.db");
        for text in [
            format!("ATTACH DATABASE '{}' AS other", other.display()),
            format!("SELECT 1; ATTACH '{}' AS other KEY 'x'", other.display()),
            "DETACH main".to_owned(),
            "SELECT load_extension('/tmp/evil.so')".to_owned(),
            "SELECT sqlcipher_export('other')".to_owned(),
            format!("VACUUM INTO '{}'", other.display()),
            "PRAGMA key = 'x'".to_owned(),
            "PRAGMA rekey = 'x'".to_owned(),
            "PRAGMA writable_schema = ON".to_owned(),
            "PRAGMA foreign_keys = OFF".to_owned(),
            "PRAGMA synchronous = OFF".to_owned(),
            "PRAGMA trusted_schema = ON".to_owned(),
            "PRAGMA query_only = OFF".to_owned(),
            "PRAGMA temp_store_directory = '/tmp'".to_owned(),
            "SELECT * FROM pragma_table_info('t')".to_owned(),
        ] {
            assert!(connection.execute_batch(&text).is_err(), "{text}");
        }
        assert!(!other.exists());
        connection
            .execute_batch("BEGIN IMMEDIATE; SAVEPOINT a; INSERT INTO t VALUES (1); RELEASE a; COMMIT; CREATE TABLE u AS SELECT * FROM t; DROP TABLE u; ANALYZE")
            .unwrap();
        assert_eq!(
            connection
                .query_row("SELECT upper('a'), count(*) FROM t", [], |r| r.get::<_, String>(0))
                .unwrap(),
            "A"
        );
    }
}
