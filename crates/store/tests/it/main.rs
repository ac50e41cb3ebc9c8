//! Store tests on both engines.
