//! Types that components use in their configuration.

mod byte_size;
mod duration;
mod optional;
mod secret;
mod string_list;
mod unsupported;

pub use byte_size::ByteSize;
pub use duration::Duration;
pub use optional::Optional;
pub use secret::Secret;
pub use string_list::StringList;
pub use unsupported::Unsupported;

#[cfg(test)]
mod tests;
