//! The one worker loop: items taken off a shared counter by some threads, so that a slow one holds nobody up.
//!
//! Results come in the order of the items, whatever the number of threads. The threads are gone when a call returns.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

/// How many threads work, who is told of it and who may stop them.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "it holds a function")]
pub struct Crew<'a> {
    threads: usize,
    cancel: Option<&'a AtomicBool>,
    finished: Option<&'a (dyn Fn(usize) + Sync)>,
}

impl<'a> Crew<'a> {
    /// So many threads; as many as there are items are enough.
    #[must_use]
    pub fn of(threads: usize) -> Self {
        Crew {
            threads,
            cancel: None,
            finished: None,
        }
    }

    /// Takes no further item once `cancel` is set. The caller asks it himself afterwards: what was done until then comes back.
    #[must_use]
    pub fn until(self, cancel: &'a AtomicBool) -> Self {
        Crew {
            cancel: Some(cancel),
            ..self
        }
    }

    /// Calls `finished` after each item, from any thread, with the number of those done.
    #[must_use]
    pub fn telling(self, finished: &'a (dyn Fn(usize) + Sync)) -> Self {
        Crew {
            finished: Some(finished),
            ..self
        }
    }

    fn is_cancelled(&self) -> bool {
        self.cancel
            .is_some_and(|cancel| cancel.load(Ordering::Relaxed))
    }

    /// Does `job` on every item and returns the results in the order of the items.
    ///
    /// # Errors
    ///
    /// The first, by the order of the items: the same with any number of threads, for what comes before a failed item is done.
    pub fn map<T: Sync, R: Send, E: Send>(
        self,
        items: &[T],
        job: impl Fn(&T) -> Result<R, E> + Sync,
    ) -> Result<Vec<R>, E> {
        let done = self.map_with(items, || (), |(), item| job(item));
        done.map(|(results, _)| results)
    }

    /// As [`Crew::map`], each thread with a worker of its own that it keeps from item to item: buffers, sums. The workers come
    /// back too, in no particular order.
    ///
    /// # Errors
    ///
    /// As [`Crew::map`].
    pub fn map_with<T: Sync, W: Send, R: Send, E: Send>(
        self,
        items: &[T],
        worker: impl Fn() -> W + Sync,
        job: impl Fn(&mut W, &T) -> Result<R, E> + Sync,
    ) -> Result<(Vec<R>, Vec<W>), E> {
        let next = AtomicUsize::new(0);
        let finished = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let outcomes: Mutex<Vec<Option<Result<R, E>>>> =
            Mutex::new(items.iter().map(|_| None).collect());
        let workers = Mutex::new(Vec::new());
        let work = || {
            let mut worker = worker();
            while !failed.load(Ordering::Relaxed) && !self.is_cancelled() {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(item) = items.get(at) else { break };
                let outcome = job(&mut worker, item);
                if outcome.is_err() {
                    failed.store(true, Ordering::Relaxed);
                }
                if let Some(slot) = outcomes.lock().get_mut(at) {
                    *slot = Some(outcome);
                }
                let count = finished.fetch_add(1, Ordering::Relaxed) + 1;
                if let Some(tell) = self.finished {
                    tell(count);
                }
            }
            workers.lock().push(worker);
        };
        on_threads(self.threads.clamp(1, items.len().max(1)), &work);
        let outcomes = outcomes.into_inner().into_iter().flatten();
        let results = outcomes.collect::<Result<Vec<R>, E>>()?;
        Ok((results, workers.into_inner()))
    }
}

/// Results on their way to whoever takes them in order.
struct Line<R> {
    /// The next item to be worked on.
    next: usize,
    /// Items whose results were taken.
    taken: usize,
    done: BTreeMap<usize, R>,
    /// Nobody takes any more, or a worker panicked.
    stopped: bool,
}

/// Stops the line where somebody leaves it by a panic: nobody must wait for him for ever.
struct StopOnPanic<'a, R>(&'a Mutex<Line<R>>, &'a Condvar);

impl<R> Drop for StopOnPanic<'_, R> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().stopped = true;
            self.1.notify_all();
        }
    }
}

impl Crew<'_> {
    /// Does `job` on the items ahead of `take`, which gets the results one by one in the order of the items and says whether it
    /// wants more. No more results wait than there are threads, and one.
    pub fn in_order<T: Sync, R: Send>(
        self,
        items: &[T],
        job: impl Fn(&T) -> R + Sync,
        mut take: impl FnMut(&T, R) -> bool,
    ) {
        let threads = self.threads.min(items.len());
        if threads <= 1 {
            let mut rest = items.iter();
            while let Some(item) = rest.next()
                && !self.is_cancelled()
                && take(item, job(item))
            {}
            return;
        }
        let line = Mutex::new(Line {
            next: 0,
            taken: 0,
            done: BTreeMap::new(),
            stopped: false,
        });
        let changed = Condvar::new();
        let work = || {
            let _stop = StopOnPanic(&line, &changed);
            let mut held = line.lock();
            loop {
                while held.next > held.taken + threads && !held.stopped {
                    changed.wait(&mut held);
                }
                let at = held.next;
                let Some(item) = items.get(at).filter(|_| !held.stopped) else {
                    return;
                };
                held.next += 1;
                drop(held);
                let result = job(item);
                held = line.lock();
                held.done.insert(at, result);
                changed.notify_all();
            }
        };
        let joined = crossbeam::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|_| work());
            }
            let _stop = StopOnPanic(&line, &changed);
            for (at, item) in items.iter().enumerate() {
                let mut held = line.lock();
                while !held.stopped && !held.done.contains_key(&at) {
                    changed.wait(&mut held);
                }
                let Some(result) = held.done.remove(&at).filter(|_| !self.is_cancelled()) else {
                    held.stopped = true;
                    break;
                };
                held.taken = at + 1;
                changed.notify_all();
                drop(held);
                if !take(item, result) {
                    line.lock().stopped = true;
                    break;
                }
            }
            changed.notify_all();
        });
        if let Err(panic) = joined {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Runs `work` on so many threads at once, one of them the caller's. A panic there is our own mistake, and passed on.
fn on_threads(threads: usize, work: &(dyn Fn() + Sync)) {
    if threads == 1 {
        return work();
    }
    let joined = crossbeam::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|_| work());
        }
        work();
    });
    if let Err(panic) = joined {
        std::panic::resume_unwind(panic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_items_with_any_number_of_threads() {
        let items: Vec<u64> = (0..500).collect();
        let expected: Vec<u64> = items.iter().map(|item| item * 3).collect();
        for threads in [0, 1, 2, 8, 1000] {
            let told = AtomicUsize::new(0);
            let tell = |count| _ = told.fetch_max(count, Ordering::Relaxed);
            let crew = Crew::of(threads).telling(&tell);
            let tripled: Result<_, ()> = crew.map(&items, |item| Ok(item * 3));
            assert_eq!(tripled.as_deref(), Ok(&expected[..]));
            assert_eq!(told.into_inner(), 500);
        }
        let none: Result<Vec<u64>, ()> = Crew::of(4).map(&[], |item: &u64| Ok(*item));
        assert_eq!(none, Ok(Vec::new()));
    }

    #[test]
    fn every_worker_comes_back_with_what_it_summed_up() {
        let items: Vec<u64> = (1..=100).collect();
        for threads in [1, 3] {
            let (_, workers) = Crew::of(threads)
                .map_with(
                    &items,
                    || 0,
                    |sum, item| {
                        *sum += item;
                        Ok::<(), ()>(())
                    },
                )
                .unwrap();
            assert_eq!(workers.len(), threads);
            assert_eq!(workers.iter().sum::<u64>(), 5050);
        }
    }

    #[test]
    fn an_error_stops_the_others_and_the_first_in_order_is_told() {
        let items: Vec<u64> = (0..10_000).collect();
        let done = AtomicUsize::new(0);
        let outcome: Result<Vec<()>, u64> = Crew::of(4).map(&items, |item| {
            done.fetch_add(1, Ordering::Relaxed);
            match item % 10 {
                7 => Err(*item),
                _ => Ok(()),
            }
        });
        assert_eq!(outcome, Err(7));
        assert!(done.into_inner() < 10_000);
    }

    #[test]
    fn what_was_done_before_a_cancel_comes_back() {
        let cancel = AtomicBool::new(false);
        let items: Vec<u64> = (0..100).collect();
        let crew = Crew::of(1).until(&cancel);
        let done: Result<Vec<u64>, ()> = crew.map(&items, |item| {
            cancel.store(*item == 4, Ordering::Relaxed);
            Ok(*item)
        });
        assert_eq!(done, Ok(vec![0, 1, 2, 3, 4]));
    }

    #[test]
    fn results_are_taken_in_order_and_not_far_ahead() {
        let items: Vec<u64> = (0..300).collect();
        for threads in [1, 2, 5] {
            let (begun, mut taken) = (AtomicUsize::new(0), Vec::new());
            let job = |item: &u64| {
                begun.fetch_add(1, Ordering::SeqCst);
                item * 2
            };
            Crew::of(threads).in_order(&items, job, |item, doubled| {
                assert_eq!(doubled, item * 2);
                taken.push(*item);
                assert!(begun.load(Ordering::SeqCst) <= taken.len() + threads + 1);
                true
            });
            assert_eq!(taken, items);
            let (begun, mut taken) = (AtomicUsize::new(0), 0);
            let job = |_: &u64| begun.fetch_add(1, Ordering::SeqCst);
            Crew::of(threads).in_order(&items, job, |_, _| {
                taken += 1;
                taken < 10
            });
            assert_eq!(taken, 10);
            assert!(begun.into_inner() <= 10 + threads + 1);
        }
    }

    #[test]
    #[should_panic(expected = "taker's")]
    fn a_panic_of_the_taker_keeps_nobody_waiting() {
        let items: Vec<i32> = (0..100).collect();
        Crew::of(3).in_order(
            &items,
            |_| (),
            |item, ()| {
                assert!(*item != 5, "taker's");
                true
            },
        );
    }

    #[test]
    #[should_panic]
    fn a_panic_ahead_keeps_nobody_waiting() {
        let items = [1, 2, 3, 4, 5];
        let job = |item: &i32| assert!(*item != 3, "ours");
        Crew::of(2).in_order(&items, job, |_, ()| true);
    }

    #[test]
    #[should_panic(expected = "ours")]
    fn a_panic_is_passed_on() {
        let items = [1, 2, 3, 4];
        let _: Result<Vec<()>, ()> = Crew::of(2).map(&items, |_| panic!("ours"));
    }
}
