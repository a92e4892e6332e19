//! A stream's directory: where streams lie, what is asked of one, its files read by their names, its metadata and consumers
//! read with what vouches for them, and the writer of a new one.

pub mod consumers;
mod dir;
pub(crate) mod files;
mod find;
pub(crate) mod index_file;
pub mod metadata;
pub mod options;
mod raft_groups;
mod renamed;
mod standing;
pub mod writer;

pub(crate) use dir::GLOBAL_ACCOUNT;
pub use dir::{StreamDir, account_of, is_raft_group};
pub use find::{Found, REKEY_DIR, Shape, WalkError, find_streams};
pub(crate) use find::{named, names_beside};
pub use metadata::NeedsKey;
pub(crate) use raft_groups::dirs_in;
pub use raft_groups::raft_groups;
pub(crate) use renamed::proven_name;
pub use standing::{accounts_dir, meta_group, standing};
