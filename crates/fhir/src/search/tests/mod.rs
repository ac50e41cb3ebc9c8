//! Tables for extraction, queries and references.

mod extract;
mod own;
mod query;
mod reference;
mod tree;
