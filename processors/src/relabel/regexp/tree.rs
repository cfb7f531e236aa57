//! What the parser builds: nodes with their limits, groups being read.

use regex_syntax::hir::{Capture, Hir};

/// Flags that hold from where they are set to the end of their group.
#[derive(Clone, Copy, Default)]
pub(super) struct Flags {
    pub(super) fold: bool,
    pub(super) multiline: bool,
    pub(super) dot_all: bool,
    pub(super) lazy: bool,
}

/// A group being read.
pub(super) struct Frame {
    /// Flags to return to when it closes.
    pub(super) outer: Flags,
    pub(super) capture: Option<u32>,
    pub(super) branches: Vec<Item>,
    pub(super) sequence: Vec<Item>,
}

/// A node with what is limited about it.
pub(super) struct Item {
    pub(super) tree: Hir,
    pub(super) depth: usize,
    /// Copies of its innermost part that counted repetitions ask for.
    pub(super) copies: u64,
}

impl Frame {
    pub(super) fn new(outer: Flags, capture: Option<u32>) -> Self {
        Self { outer, capture, branches: Vec::new(), sequence: Vec::new() }
    }

    /// Ends a branch of an alternation.
    pub(super) fn branch(&mut self) {
        let sequence = std::mem::take(&mut self.sequence);
        self.branches.push(join(sequence, Hir::concat));
    }

    pub(super) fn finish(mut self) -> Item {
        self.branch();
        let item = join(self.branches, Hir::alternation);
        match self.capture {
            // Names stay here: Rust's rules for them are narrower than Go's.
            Some(index) => Item {
                tree: Hir::capture(Capture { index, name: None, sub: Box::new(item.tree) }),
                depth: item.depth + 1,
                ..item
            },
            None => item,
        }
    }
}

fn join(items: Vec<Item>, how: fn(Vec<Hir>) -> Hir) -> Item {
    let depth = items.iter().map(|item| item.depth).max().unwrap_or(0) + usize::from(items.len() != 1);
    let copies = items.iter().map(|item| item.copies).max().unwrap_or(1);
    Item { tree: how(items.into_iter().map(|item| item.tree).collect()), depth, copies }
}
