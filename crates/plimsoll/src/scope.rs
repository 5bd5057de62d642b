//! Requests that borrow: the one place with `unsafe`, and its proof.
//!
//! A pool's requests are `'static`, because they may run after their submitter
//! has returned. A scope's requests may borrow what outlives the scope, because
//! [`run`] does not return, nor let a panic pass, before each of them is gone.
//!
//! # Why the lifetime may be erased
//!
//! Let *t* be a request of the scope: the boxed closure, which holds borrows of
//! at least `'scope`. The claim: nothing touches *t* after `run` has ended.
//!
//! 1. *t* lives only inside a [`Scoped`], beside a [`Ticked`], and no code here
//!    moves it out of there but `Scoped::call` and `Scoped::drop`.
//! 2. Fields drop in the order they are declared; `call` and `drop` consume the
//!    closure before they let go of the `Ticked`. So when a `Ticked` drops, its
//!    *t* has been run to its end, has unwound, or was dropped without running,
//!    and in each case its captures are gone. The `Ticked` of a request that
//!    has run leaves as its answer, or as its panic's payload, which drops when
//!    the lease is back: so whoever leaves the scope finds its charges gone.
//! 3. `Ticked::drop` is the only thing that lowers the count, once for the once
//!    that `Scope::submit` raised it, before the request was handed out.
//! 4. `run` raises the count only through `submit`, needs `&Scope` for that,
//!    and waits for 0 after the last use of the scope, in the drop of a guard
//!    that stands on its stack: so it waits also when the body unwinds. A
//!    request can submit further ones only while it runs, that is, while its
//!    own `Ticked` keeps the count above 0.
//! 5. A request that is leaked (its `Ticked` never drops) makes `run` wait for
//!    ever, which is safe. The pool leaks none: a cancelled, refused, failed or
//!    finished request is dropped. `submit` itself hands no closure back.
//! 6. The answer of a request is its `Ticked`: no borrow leaves through it. A
//!    panic's payload is `'static` by its type, and only its text is kept.
//!
//! Waiting on the pool's own worker is refused before anything is submitted, so
//! a scope never waits for itself.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use crate::crew::{given_up, panic_message};
use crate::error::{Reason, Refused, ReplyError};
use crate::slot::Slot;
use crate::sync::{Mutex, lock};
use crate::thread::ThreadPool;

/// Submits requests that borrow from outside [`ThreadPool::scope`].
///
/// ```
/// use plimsoll::{Reason, ThreadPool};
///
/// let pool = ThreadPool::new(2)?;
/// let words = [String::from("least"), String::from("loaded")];
/// let mut lengths = [0; 2];
/// pool.scope(|scope| {
///     for (word, length) in words.iter().zip(&mut lengths) {
///         scope.submit(move |()| *length = word.len())?;
///     }
///     Ok::<_, Reason>(())
/// })??;
/// assert_eq!(lengths, [5, 6]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Scope<'scope, 'env: 'scope, S: 'static> {
    pool: &'env ThreadPool<S>,
    shared: Arc<Shared>,
    /// Invariant in both lifetimes, as in `std::thread::Scope`.
    lifetimes: PhantomData<(&'scope mut &'scope (), &'env mut &'env ())>,
}

/// What the scope and its requests share.
struct Shared {
    state: Mutex<State>,
    /// Filled when the body has ended and the count is 0.
    over: Slot<()>,
}

struct State {
    /// Requests that are not gone, and 1 for the body.
    count: usize,
    error: Option<ReplyError>,
}

/// One in the count; dropping it lowers the count.
struct Ticked(Arc<Shared>);

impl Drop for Ticked {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.count -= 1;
        let over = state.count == 0;
        drop(state);
        if over {
            let _ = self.0.over.put(());
        }
    }
}

impl Shared {
    fn tick(self: &Arc<Self>) -> Ticked {
        lock(&self.state).count += 1;
        Ticked(Arc::clone(self))
    }

    fn note(&self, error: ReplyError) {
        lock(&self.state).error.get_or_insert(error);
    }
}

/// A request and its place in the count. The order of the fields is part of
/// the proof.
struct Scoped<F> {
    request: Option<F>,
    /// `None` once `call` has handed it on.
    ticked: Option<Ticked>,
}

impl<F> Scoped<F> {
    fn call<S>(mut self, state: &mut S) -> Option<Ticked>
    where
        F: FnOnce(&mut S),
    {
        let request = self.request.take()?;
        let outcome = catch_unwind(AssertUnwindSafe(|| request(state)));
        let ticked = self.ticked.take();
        if let Err(panic) = outcome {
            if let Some(ticked) = &ticked {
                ticked.0.note(ReplyError::Panicked(panic_message(&*panic)));
            }
            // The worker must see it too: its state may be broken.
            resume_unwind(Box::new(ticked));
        }
        ticked
    }
}

impl<F> Drop for Scoped<F> {
    fn drop(&mut self) {
        if let (Some(request), Some(ticked)) = (self.request.take(), &self.ticked) {
            // Never run: the pool gave it up.
            ticked.0.note(given_up());
            drop(request);
        }
    }
}

impl<'scope, S: 'static> Scope<'scope, '_, S> {
    /// Submits a request that may borrow what outlives the scope; blocks while
    /// the line is full.
    ///
    /// ```
    /// use plimsoll::ThreadPool;
    ///
    /// let pool = ThreadPool::new(2)?;
    /// let text = String::from("borrowed");
    /// let mut length = 0;
    /// pool.scope(|scope| scope.submit(|()| length = text.len()))??;
    /// assert_eq!(length, 8);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Reason`] why the pool did not take it; the request is dropped, and the
    /// scope as a whole has that error.
    pub fn submit<F>(&'scope self, request: F) -> Result<(), Reason>
    where
        F: FnOnce(&mut S) + Send + 'scope,
    {
        let ticked = Some(self.shared.tick());
        let scoped = Scoped { request: Some(erase(Box::new(request))), ticked };
        match self.pool.submit(move |state: &mut S| scoped.call(state)) {
            Ok(reply) => {
                reply.let_go();
                Ok(())
            }
            Err(Refused { reason, request }) => {
                // Noted before the request notes that it was dropped.
                self.shared.note(ReplyError::Refused(reason.clone()));
                drop(request);
                Err(reason)
            }
        }
    }
}

type Request<'scope, S> = Box<dyn FnOnce(&mut S) + Send + 'scope>;

/// Erases the lifetime of a request's borrows.
fn erase<S>(request: Request<'_, S>) -> Request<'static, S> {
    #[allow(unsafe_code, reason = "the module's documentation has the proof")]
    // SAFETY: only the lifetime changes, and the request is gone before it
    // ends: see the module's documentation.
    unsafe {
        std::mem::transmute(request)
    }
}

/// Waits for all requests when dropped, so that unwinding waits too.
struct Wait(Arc<Shared>);

impl Drop for Wait {
    fn drop(&mut self) {
        // The body's own part of the count.
        drop(Ticked(Arc::clone(&self.0)));
        self.0.over.wait(None);
    }
}

pub(crate) fn run<'env, S: 'static, T>(
    pool: &'env ThreadPool<S>,
    body: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env, S>) -> T,
) -> Result<T, ReplyError> {
    if pool.crew().serves_here() {
        return Err(ReplyError::WouldDeadlock);
    }
    let state = Mutex::new(State { count: 1, error: None });
    let shared = Arc::new(Shared { state, over: Slot::new() });
    let scope = Scope { pool, shared: Arc::clone(&shared), lifetimes: PhantomData };
    let wait = Wait(Arc::clone(&shared));
    let result = body(&scope);
    drop(wait);
    let error = lock(&shared.state).error.take();
    error.map_or(Ok(result), Err)
}
