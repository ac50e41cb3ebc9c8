//! `reach`
