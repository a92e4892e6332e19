//! Recover, verify, salvage and embed NATS JetStream file stores.
//!
//! jetsam reads the directory in which nats-server keeps a stream and tells what nats-server v2.15.3
//! would make of it: the same state, field by field, with every decision explained, and without
//! touching a byte unless asked to.
//!
//! Where to begin:
//!
//! * [`stream::find_streams`] finds the streams below a path, [`recovery::examine`] judges one without
//!   writing, [`recovery::recover`] also applies the judgement, [`recovery::undo`] takes that back.
//! * [`preflight::forecast`] tells what a server of any line since 2.10 would do to a stream when it starts.
//! * [`recovery::judge`] also gives what a stream *is*, as a [`state::StreamState`]; [`recovery::hand_over`] recovers a stream and
//!   hands that over, with the lock under which it is true: where an engine begins.
//! * [`store::Store`] is the engine: one stream to append to and read, in the server's files, for programs that embed a store.
//! * [`format`](mod@format) turns bytes into values and back, for every file of a store: no I/O, no clock, no keys.
//! * [`crypto`] has the keys and ciphers of encrypted stores.
//! * [`env`](mod@env) is the one seam through which files, clock and randomness are reached; its in-memory twin
//!   makes recovery testable without a disk.
//!
//! What is not in this documentation and yet public is for the tests, fuzz targets and tools of the repository, and changes without
//! notice.
//!
//! The library starts no threads of its own except while a scan runs, and no timers.

#[doc(hidden)]
pub mod block;
pub mod crypto;
pub mod env;
pub mod format;
pub mod keys;
#[doc(hidden)]
pub mod ledger;
pub mod living;
#[doc(hidden)]
pub mod parallel;
pub mod preflight;
pub mod recovery;
pub mod report;
pub mod salvage;
pub mod server_config;
pub mod state;
pub mod store;
pub mod stream;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
