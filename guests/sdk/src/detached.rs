use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Display;

mod bindings {
    #![allow(missing_docs)]
    wit_bindgen::generate!({ path: "wit/detached.wit", world: "detached" });
}

use bindings::exports::guesthouse::detached::guest::Guest;
use bindings::guesthouse::detached::tasks;

type Work = Box<dyn FnOnce() -> Result<(), String>>;

thread_local! {
    static QUEUE: RefCell<VecDeque<Work>> = const { RefCell::new(VecDeque::new()) };
}

/// What the work of a task may return: nothing, or a `Result<(), E>` whose error can be shown.
pub trait Outcome {
    /// The outcome as the host is told it.
    fn into_result(self) -> Result<(), String>;
}

impl Outcome for () {
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: Display> Outcome for Result<(), E> {
    fn into_result(self) -> Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}

/// Queues work for after the answer, under a name of 1 to 64 bytes by which the host logs and counts it.
///
/// Tasks run one by one, in the order in which they were queued, on the same instance: they see the
/// same memory, may use every interface that the function may use, and may queue further tasks. Nothing
/// that happens there changes the answer, which has left by then.
///
/// - A task that returns an error is logged and counted as failed; the next one runs.
/// - A panic, the function's deadline or another of its limits ends the task and those behind it; each of
///   them is counted as lost. The deadline is that of the whole invocation, not of the work alone.
/// - Where the function itself traps before it has answered, no task runs. Where it answers with an error
///   status, they do.
///
/// Returns whether the work will be done. `false`: the host has refused it, because it has no such
/// name or because too many were queued (`detached_tasks`, 1,000), and has logged that; `work` is dropped.
///
/// ```no_run
/// # use guesthouse_guest::detached;
/// detached("count", || println!("one more"));
/// detached("index", || -> Result<(), std::num::ParseIntError> {
///     let number: u32 = "12".parse()?;
///     detached("index-more", move || println!("{number}"));
///     Ok(())
/// });
/// ```
pub fn detached<W, O>(name: &str, work: W) -> bool
where
    W: FnOnce() -> O + 'static,
    O: Outcome,
{
    let accepted = tasks::queue(name).is_ok();
    if accepted {
        QUEUE.with_borrow_mut(|queue| queue.push_back(Box::new(|| work().into_result())));
    }
    accepted
}

struct Tasks;
bindings::export!(Tasks with_types_in bindings);

impl Guest for Tasks {
    fn run() {
        while let Some(work) = QUEUE.with_borrow_mut(VecDeque::pop_front) {
            tasks::begin();
            let outcome = work();
            tasks::end(outcome.as_ref().map(|_| ()).map_err(String::as_str));
        }
    }
}
