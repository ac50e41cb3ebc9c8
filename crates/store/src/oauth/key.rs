//! Keys that sign id tokens, and signed assertions seen before.

use crate::{Result, Tx, params};
use jiff::Timestamp;

/// Keys that may be there at once.
const MAX_KEYS: i64 = 50;

#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// `kid`
    pub id: String,
    /// `RS256` or `ES384`
    pub algorithm: String,
    /// Sealed.
    pub private: Vec<u8>,
    /// A JWK.
    pub public: String,
    pub created: Timestamp,
}

pub fn insert_key(tx: &mut dyn Tx, key: &Key) -> Result<()> {
    tx.execute(
        "INSERT INTO oauth_key (id, algorithm, private, public, created_us) VALUES ($1, $2, $3, $4, $5)",
        params![&key.id, &key.algorithm, &key.private, &key.public, key.created],
    )?;
    Ok(())
}

/// Newest first.
pub fn keys(tx: &mut dyn Tx) -> Result<Vec<Key>> {
    tx.all(
        "SELECT id, algorithm, private, public, created_us FROM oauth_key ORDER BY created_us DESC, id LIMIT $1",
        params![MAX_KEYS],
        |row| {
            Ok(Key {
                id: row.string(0)?,
                algorithm: row.string(1)?,
                private: row.bytes(2)?.to_vec(),
                public: row.string(3)?,
                created: row.time(4)?,
            })
        },
    )
}

/// Removes keys made before; returns how many.
pub fn prune_keys(tx: &mut dyn Tx, before: Timestamp) -> Result<u64> {
    tx.execute("DELETE FROM oauth_key WHERE created_us < $1", params![before])
}

/// Whether the client's assertion was not seen before.
pub fn use_assertion(tx: &mut dyn Tx, client: &str, jti_hash: &[u8; 32], expires: Timestamp) -> Result<bool> {
    let sql = "INSERT INTO oauth_assertion (client, jti_hash, expires_us) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    Ok(tx.execute(sql, params![client, jti_hash, expires])? == 1)
}
