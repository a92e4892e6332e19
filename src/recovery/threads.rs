//! Work that several threads share.

/// Does the work on so many threads; each asks for itself what is left to do.
pub(super) fn side_by_side(threads: usize, work: &(dyn Fn() + Sync)) {
    if threads < 2 {
        work();
        return;
    }
    // A thread that panicked is our own mistake: it is passed on, not swallowed.
    let joined = crossbeam::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|_| work());
        }
    });
    if let Err(panic) = joined {
        std::panic::resume_unwind(panic);
    }
}
