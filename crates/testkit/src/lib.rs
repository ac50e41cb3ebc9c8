//! What tests, demonstrations and benchmarks share: a deterministic hospital full of plausible people.
//!
//! **Invariant:** development only; nothing that ships depends on this crate.
//! **Invariant:** the same seed, size and day give the same bytes.

pub mod hospital;
