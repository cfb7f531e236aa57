//! Doors: sockets, deadlines, caps, gates. (Being built.)

/// Sockets that belong to the agent and are lent to components.
#[derive(Debug, Default)]
pub struct Listeners {}
