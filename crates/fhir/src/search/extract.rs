//! Index entries and compartments of a resource.

use super::IndexEntry;
use crate::Resource;

/// The index entries of every search parameter of the resource, sorted and without duplicates.
pub fn extract(_resource: &Resource) -> Vec<IndexEntry> {
    Vec::new()
}

/// Ids of the patients this resource belongs to; a Patient belongs to itself.
pub fn compartment(_resource: &Resource) -> Vec<String> {
    Vec::new()
}
