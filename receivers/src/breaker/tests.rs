//! The receiver as a whole.
