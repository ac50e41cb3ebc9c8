//! Tables for extraction, queries and references.

mod extract;
mod query;
mod reference;
mod tree;
