//! Temporary databases on both engines.
