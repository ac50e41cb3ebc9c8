//! Signalling of a video visit: who is there, who waits, how the two sides find each other, what they write.
//!
//! [protocol] is the message catalogue, [room] the pure state machine of one visit, [hub] the shell that owns
//! the rooms and the sockets. The hub stores nothing: it reports what happened to the sink given at start, and
//! it lets nobody in without a grant, which the join request makes after asking the record. Whoever runs the sockets
//! asks again while they are open, and puts out who has lost her right ([Connection::put_out]).
//!
//! **Invariant:** a lasting message is handled exactly once and in order by its receiver, or the receiver is
//! told that it has missed some (`hello.reset`); never silently lost or doubled.

pub mod event;
pub mod hub;
mod participant;
pub mod protocol;
pub mod room;
mod session;

pub use event::{ConnectError, Grant, LeftReason, LogEvent, LogKind, Presence};
pub use hub::{Connection, GrantError, Granted, Hub, LogSink, Outgoing};
pub use protocol::{Role, RoomState};
