//! A stream's directory: where streams lie, what is asked of one, its files read by their names.

mod dir;
pub(crate) mod files;
mod find;
pub mod options;
mod standing;

pub use dir::StreamDir;
pub use find::{Found, REKEY_DIR, Shape, WalkError, find_streams};
pub(crate) use find::{named, names_beside};
pub use standing::{accounts_dir, meta_group, standing};
