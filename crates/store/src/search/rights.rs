//! What a caller may see, of any type: searches reach rows of other types by chains and includes.

use access::Predicate;
use fhir::TypeId;
use fhir::search::Condition;
use std::sync::Arc;

/// What of one type the caller may see.
#[derive(Debug, Clone, PartialEq)]
pub struct Right {
    pub predicate: Predicate,
    /// Rows that meet this do not exist for the caller, e.g. drafts for patients.
    pub hidden: Option<Condition>,
}

impl From<Predicate> for Right {
    fn from(predicate: Predicate) -> Right {
        Right { predicate, hidden: None }
    }
}

type Of = dyn Fn(TypeId) -> Right + Send + Sync;

/// The [Right] of every type. Cheap to clone.
#[derive(Clone)]
pub struct Rights(Arc<Of>);

impl Rights {
    pub fn new(of: impl Fn(TypeId) -> Right + Send + Sync + 'static) -> Rights {
        Rights(Arc::new(of))
    }
    /// No restriction: for the program itself.
    pub fn everything() -> Rights {
        Rights::same(Predicate::Everything)
    }
    /// The same predicate for every type.
    pub fn same(predicate: Predicate) -> Rights {
        Rights::new(move |_| predicate.clone().into())
    }
    pub fn of(&self, kind: TypeId) -> Right {
        (self.0)(kind)
    }
}

impl std::fmt::Debug for Rights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rights")
    }
}
