//! A counting allocator: how many allocations a piece of work makes on this thread. For tests and benchmarks.
//!
//! This is the only crate of the house that says `unsafe`: the trait of global allocators is unsafe to implement. It adds nothing
//! of its own to the system allocator but two thread-local additions.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system allocator with a tally. Install it with `#[global_allocator]`.
pub struct Tally;

/// What a piece of work asked of the allocator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocated {
    /// Allocations, reallocations included.
    pub count: u64,
    /// Bytes asked for; frees are not subtracted.
    pub bytes: u64,
}

thread_local! {
    // Const-initialised and without a destructor, so that counting allocates nothing and works until the thread ends.
    static ALLOCATED: Cell<Allocated> = const { Cell::new(Allocated { count: 0, bytes: 0 }) };
}

/// Runs `work` and says what it allocated on this thread. Zero for everything unless [`Tally`] is the global allocator.
pub fn allocated<T>(work: impl FnOnce() -> T) -> (T, Allocated) {
    let before = ALLOCATED.get();
    let result = work();
    let after = ALLOCATED.get();
    (result, Allocated { count: after.count - before.count, bytes: after.bytes - before.bytes })
}

fn note(bytes: usize) {
    let Allocated { count, bytes: sum } = ALLOCATED.get();
    ALLOCATED.set(Allocated { count: count + 1, bytes: sum + bytes as u64 });
}

// SAFETY: every call goes to `System` with the caller's own arguments, whose contract is the same.
unsafe impl GlobalAlloc for Tally {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(new_size);
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static TALLY: Tally = Tally;

    #[test]
    fn one_box_is_one_allocation() {
        let (_, allocated) = allocated(|| Box::new(7_u64));
        assert_eq!(allocated, Allocated { count: 1, bytes: 8 });
        assert_eq!(super::allocated(|| 1 + 1).1, Allocated::default());
    }
}
