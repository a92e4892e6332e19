//! The server's API as a broker speaks it: what requests ask of a store, what answers tell of it, and the numbers of errors.

mod error;
mod request;
mod told;

pub use error::ApiError;
