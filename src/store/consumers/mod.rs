//! The consumers of a stream: how far each has delivered and what waits for an acknowledgement.
//!
//! * [`Deliveries`] is the state machine alone: what a delivery, an acknowledgement or an update makes of a
//!   [`ConsumerState`](crate::format::consumer::ConsumerState), by the rules of the server's consumer store. No file, no key, no
//!   clock.
//! * [`Consumer`] keeps one in its directory, `obs/NAME`, in the server's files.
//! * [`Dispatcher`] says which message a consumer gets next, and keeps in its state that it got it.
//! * [`Requests`] says who gets it: those who asked for messages, and what they are told while there is none.
//!
//! Every change is made in memory, [`Level::Buffered`](super::Level::Buffered), until [`Consumer::flush`] raises the state as it is
//! then to the level asked for. There is one writer, the holder of the `Consumer`, so that what is on disk is always the whole of a
//! state that was, and never an older one than was there before.

mod consumer;
mod deliveries;
mod dispatcher;
mod error;
mod files;
mod open;
mod position;
mod redelivery;
mod requests;
mod talk;

pub use consumer::Consumer;
pub use deliveries::{AckRules, Deliveries};
pub use dispatcher::{Delivery, Dispatcher};
pub use error::{ConsumerError, DispatchError, StateFault};
pub use open::ConsumerPlace;
pub use requests::{RequestNotice, RequestStatus, Requests};
