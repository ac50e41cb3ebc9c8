//! `sandbox`
