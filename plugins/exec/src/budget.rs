//! The memory that all programs together may occupy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of bytes, of which parts are held.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: AtomicUsize,
    held: AtomicUsize,
}

/// A part of a budget, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit: AtomicUsize::new(limit), held: AtomicUsize::new(0) })
    }

    /// Sets another limit. What is held stays held.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Nothing of it, to be grown.
    pub(crate) fn nothing(self: &Arc<Self>) -> Held {
        Held { budget: Arc::clone(self), bytes: 0 }
    }
}

impl Held {
    /// Takes up to `bytes` more, and returns how many.
    pub(crate) fn grow(&mut self, bytes: usize) -> usize {
        let limit = self.budget.limit.load(Ordering::Relaxed);
        let taken = |held: usize| bytes.min(limit.saturating_sub(held));
        let before =
            self.budget.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| Some(held + taken(held)));
        let granted = taken(before.unwrap_or_else(|held| held));
        self.bytes += granted;
        granted
    }

    /// Takes over what `other` holds.
    pub(crate) fn absorb(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_bounded_and_comes_back() {
        let budget = Budget::new(10);
        let (mut one, mut two) = (budget.nothing(), budget.nothing());
        assert_eq!((one.grow(7), two.grow(7), two.grow(1)), (7, 3, 0));
        one.absorb(two);
        let mut three = budget.nothing();
        assert_eq!(three.grow(1), 0);
        drop(one);
        assert_eq!(three.grow(11), 10);
        budget.set_limit(5);
        assert_eq!(three.grow(1), 0);
        drop(three);
        assert_eq!(budget.nothing().grow(100), 5);
    }
}
