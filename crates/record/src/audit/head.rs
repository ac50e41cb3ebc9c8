//! Signed heads of the audit tree, and the keys that sign them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use store::Secret32;
use store::audit::merkle::Hash;
use store::audit::tree::{KeyId, Segment};

/// First line of a head.
const TITLE: &str = "uzima audit head 1";
/// First line of what a key signs for its successor.
const KEY_TITLE: &str = "uzima audit key 1";
/// Longest text of a head, bytes.
const MAX_HEAD_BYTES: usize = 1024;

/// What the tree was at one time, signed. As text it is meant for files, mails and paper: see [AuditHead::text].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditHead {
    /// Name of the tree, which is random.
    pub tree: [u8; 16],
    /// Entries.
    pub size: u64,
    pub root: Hash,
    pub at: Timestamp,
    /// Number of the last row.
    pub row: i64,
    pub key: KeyId,
    /// Ed25519 over all lines but the last.
    pub signature: Vec<u8>,
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The inverse of [hex]; `None` for anything else or another length.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * n..2 * n + 2], 16).ok()?;
    }
    Some(bytes)
}

impl AuditHead {
    pub(super) fn of(tree: [u8; 16], segment: &Segment) -> AuditHead {
        AuditHead {
            tree,
            size: u64::try_from(segment.first + segment.count).unwrap_or(0),
            root: segment.root,
            at: segment.sealed,
            row: segment.last_seq,
            key: segment.key,
            signature: segment.signature.clone(),
        }
    }

    /// What is signed.
    fn body(&self) -> String {
        format!(
            "{TITLE}\ntree {}\nsize {}\nroot {}\nat {:.6}\nrow {}\nkey {}\n",
            hex(&self.tree),
            self.size,
            hex(&self.root),
            self.at,
            self.row,
            hex(&self.key)
        )
    }

    /// Eight lines: title, `tree`, `size`, `root`, `at`, `row`, `key`, `signature` (base64).
    pub fn text(&self) -> String {
        format!("{}signature {}\n", self.body(), STANDARD.encode(&self.signature))
    }

    /// Whether this key signed it.
    pub fn is_signed_by(&self, public: &[u8; 32]) -> bool {
        UnparsedPublicKey::new(&ED25519, public).verify(self.body().as_bytes(), &self.signature).is_ok()
    }

    /// The heads in a text, such as a log of anchors or a mail: whatever else it holds is passed over.
    pub fn find(text: &str) -> Vec<AuditHead> {
        let mut heads = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(TITLE) {
            let end = rest.floor_char_boundary((at + MAX_HEAD_BYTES).min(rest.len()));
            heads.extend(AuditHead::parse(&rest[at..end]));
            rest = &rest[at + TITLE.len()..];
        }
        heads
    }

    fn parse(text: &str) -> Option<AuditHead> {
        let mut lines = text.lines().skip(1).map(|line| line.trim().split_once(' ').unwrap_or_default());
        let mut next = |name: &str| lines.next().filter(|(found, _)| *found == name).map(|(_, value)| value);
        Some(AuditHead {
            tree: unhex(next("tree")?)?,
            size: next("size")?.parse().ok()?,
            root: unhex(next("root")?)?,
            at: next("at")?.parse().ok()?,
            row: next("row")?.parse().ok()?,
            key: unhex(next("key")?)?,
            signature: STANDARD.decode(next("signature")?).ok()?,
        })
    }
}

/// The key that signs heads. Prints as its id.
pub struct AuditKey {
    pair: Ed25519KeyPair,
    /// Ed25519.
    pub public: [u8; 32],
    /// First bytes of the SHA-256 of [AuditKey::public].
    pub id: KeyId,
}

impl std::fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AuditKey({})", hex(&self.id))
    }
}

/// The id of a public key.
pub fn key_id(public: &[u8; 32]) -> KeyId {
    let hash = digest(&SHA256, public);
    let mut id = KeyId::default();
    id.copy_from_slice(&hash.as_ref()[..8]);
    id
}

impl AuditKey {
    /// From its 32 secret bytes. `None` never happens for bytes of a random key.
    pub fn new(secret: &Secret32) -> Option<AuditKey> {
        let pair = Ed25519KeyPair::from_seed_unchecked(secret.as_bytes()).ok()?;
        let public = <[u8; 32]>::try_from(pair.public_key().as_ref()).ok()?;
        let id = key_id(&public);
        Some(AuditKey { pair, public, id })
    }

    pub(super) fn sign(&self, head: &mut AuditHead) {
        head.key = self.id;
        head.signature = self.pair.sign(head.body().as_bytes()).as_ref().to_vec();
    }

    /// Says that `public` signs from now on instead of this key.
    pub fn endorse(&self, public: &[u8; 32]) -> Vec<u8> {
        self.pair.sign(endorsement(public, &self.id).as_bytes()).as_ref().to_vec()
    }
}

fn endorsement(public: &[u8; 32], before: &KeyId) -> String {
    format!("{KEY_TITLE}\npublic {}\nbefore {}\n", hex(public), hex(before))
}

/// Whether the key `before` said that `public` follows it.
pub fn is_endorsed(public: &[u8; 32], before: &[u8; 32], signature: &[u8]) -> bool {
    let text = endorsement(public, &key_id(before));
    UnparsedPublicKey::new(&ED25519, before).verify(text.as_bytes(), signature).is_ok()
}
