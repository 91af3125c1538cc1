//! Ceilings on memory and stack for work that files describe. A template or a tokenizer of a few
//! bytes can ask for any amount, the crates do not count it, and what fails to allocate in Rust can
//! only end the process; so it ends as the program does when memory is short: with one line and
//! status 6, by which an interrupted run can be gone on with.

use crate::boundary::Fallible;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::thread;

/// ExitCode::kResource (ptq/base/error.h).
const STATUS: i32 = 6;
/// For parsers that call themselves once for each character of a text of `MOST_SOURCE` bytes.
const STACK: usize = 1 << 27;
/// Far above any template that people use.
const MOST_SOURCE: usize = 1 << 17;

thread_local! {
    static LEFT: Cell<isize> = const { Cell::new(isize::MAX) };
    static WHAT: Cell<&'static str> = const { Cell::new("text") };
}

struct Ceiling;

fn give_up(bytes: usize) -> ! {
    let what = WHAT.try_with(Cell::get).unwrap_or("text");
    let parts = ["quantize: out of memory: ", what, " asks for more than there is; "];
    let advice = if bytes == 0 {
        "free memory, or give shorter texts\n"
    } else {
        "it may be made to do so: look at it, or give shorter texts\n"
    };
    for part in parts.iter().chain([&advice]) {
        // SAFETY: the bytes are there.
        unsafe { libc::write(2, part.as_ptr().cast(), part.len()) };
    }
    // SAFETY: ends the process; nothing of it is run any more.
    unsafe { libc::_exit(STATUS) }
}

fn take(bytes: usize) {
    let _ = LEFT.try_with(|left| {
        let rest = left.get();
        if rest == isize::MAX {
            return;  // no ceiling here
        }
        if isize::try_from(bytes).map_or(true, |bytes| bytes > rest) {
            left.set(isize::MAX);
            give_up(bytes);
        }
        left.set(rest - bytes as isize);
    });
}

fn give_back(bytes: usize) {
    let _ = LEFT.try_with(|left| {
        if left.get() != isize::MAX {
            left.set(left.get().saturating_add(bytes as isize).min(isize::MAX - 1));
        }
    });
}

fn checked(memory: *mut u8) -> *mut u8 {
    if memory.is_null() {
        give_up(0);
    }
    memory
}

// SAFETY: the system's allocator does the work; none of this allocates or unwinds.
unsafe impl GlobalAlloc for Ceiling {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        checked(System.alloc(layout))
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        checked(System.alloc_zeroed(layout))
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        give_back(layout.size());
        System.dealloc(memory, layout);
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        take(size);
        give_back(layout.size());
        checked(System.realloc(memory, layout, size))
    }
}

#[global_allocator]
static GLOBAL: Ceiling = Ceiling;

/// Runs `work` with a ceiling on what this thread allocates in it; `what` names it to the user.
pub fn within<T>(what: &'static str, bytes: usize, work: impl FnOnce() -> T) -> T {
    struct Restore(isize, &'static str);
    impl Drop for Restore {
        fn drop(&mut self) {
            LEFT.set(self.0);
            WHAT.set(self.1);
        }
    }
    let _restore = Restore(LEFT.get(), WHAT.replace(what));
    LEFT.set(isize::try_from(bytes).unwrap_or(isize::MAX - 1));
    work()
}

/// Runs `work` on a template of `size` bytes as [`within`], on a thread whose stack is deep enough
/// for whatever is nested in it.
pub fn on_deep_stack<T: Send>(
    what: &'static str,
    size: usize,
    bytes: usize,
    work: impl FnOnce() -> Fallible<T> + Send,
) -> Fallible<T> {
    if size > MOST_SOURCE {
        return Err(format!("{what} has {size} bytes, more than the {MOST_SOURCE} that are read").into());
    }
    thread::scope(|scope| {
        let handle = thread::Builder::new()
            .stack_size(STACK)
            .spawn_scoped(scope, || within(what, bytes, work))?;
        handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_freed_may_be_taken_again() {
        within("a test", 1 << 20, || {
            for _ in 0..64 {
                assert_eq!(vec![0u8; 1 << 16].len(), 1 << 16);
            }
            assert!(LEFT.get() > 1 << 19);
        });
        assert_eq!(LEFT.get(), isize::MAX);
    }

    #[test]
    fn a_source_that_is_too_long_is_an_error() {
        let long = on_deep_stack("a template", MOST_SOURCE + 1, 1 << 20, || Ok(()));
        assert!(long.unwrap_err().to_string().contains("131073 bytes"));
        assert_eq!(on_deep_stack("a template", 1, 1 << 20, || Ok(7)).unwrap(), 7);
    }

    #[test]
    fn a_panic_reaches_the_caller() {
        let caught = std::panic::catch_unwind(|| {
            let _ = on_deep_stack("a template", 1, 1 << 20, || -> Fallible<()> { panic!("boom") });
        });
        assert!(caught.is_err());
    }
}
