//! Ctrl-C: the first asks the work to stop, so that temporary files are removed; the second ends the process.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use assay_engine::EngineError;

use crate::exit::Exit;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Starts to listen. Called once the inputs are read: until then Ctrl-C simply ends the process, also while it
/// waits for a pipe.
pub fn listen() {
    let handler = || {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
    };
    // An error means that a handler is already there, or that there are no signals here; both leave the default.
    drop(ctrlc::set_handler(handler));
}

/// Whether the user asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// An error if the user asked to stop.
pub fn check() -> Result<(), EngineError> {
    if requested() {
        Err(EngineError::Cancelled)
    } else {
        Ok(())
    }
}

/// Carried by the unwinding that ends a function whose progress callback cannot return an error.
struct Unwound;

/// For such callbacks, under [`stoppable`].
pub fn unwind_if_requested() {
    if requested() {
        // Unlike a panic, this runs no hook and prints nothing.
        resume_unwind(Box::new(Unwound));
    }
}

/// Runs `work`, whose callbacks may call [`unwind_if_requested`]. Its values are dropped as on any return, and with them
/// its temporary files.
pub fn stoppable<T>(work: impl FnOnce() -> T) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| match payload.downcast::<Unwound>() {
        Ok(_) => EngineError::Cancelled,
        Err(panic) => resume_unwind(panic),
    })
}
