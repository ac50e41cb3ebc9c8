//! `billing`
