//! `care`
