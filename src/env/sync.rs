//! The locks and atomics of what several threads use at once: an open store, and the file system in memory.
//!
//! They are `parking_lot`'s and the standard library's. Under `--cfg shuttle` they are ones that hand the choice of who goes on next to a
//! scheduler, so that `tests/shuttle` can try any order of steps, and the same one again.
//!
//! `Arc` and `OnceLock` are not among them: nothing that is done while one is counted or filled takes a lock, so no other thread can come
//! in between there. The worker loop (`parallel.rs`) has locks of its own; the schedules open their stores with one thread.

#[cfg(not(shuttle))]
pub(crate) use parking_lot::{Mutex, MutexGuard, RwLock};
#[cfg(shuttle)]
pub(crate) use shuttle::sync::atomic;
#[cfg(shuttle)]
pub(crate) use shuttle_parking_lot::{Mutex, MutexGuard, RwLock};
#[cfg(not(shuttle))]
pub(crate) use std::sync::atomic;
