//! Which addresses the relay may send to (OWASP ASVS 17.1.1).

pub use wire::address::is_public;
