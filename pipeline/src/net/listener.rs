//! Sockets that belong to the agent and are lent to components.
//!
//! A component that is replaced gives its socket back and its successor borrows the same one, accept queue included: no
//! connection is refused in between.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::{TcpListener, TcpSocket};

use super::endpoint::Endpoint;
use crate::fault::Fault;

/// How many connections the kernel holds for us until they are accepted; it caps this at `net.core.somaxconn` (4,096 by default).
/// A full queue costs an honest client a whole second, because its SYN is dropped.
const BACKLOG: u32 = 4_096;

/// All sockets of the agent. A socket stays open while nobody has it, until [`Listeners::close_unlent`].
#[derive(Debug, Default)]
pub struct Listeners {
    /// At most one per endpoint of the configuration. Never held over an await.
    slots: Mutex<Vec<Arc<Slot>>>,
}

/// A listening socket, borrowed. Dropping it gives the socket back, open.
#[derive(Debug)]
pub struct Lent {
    slot: Arc<Slot>,
}

#[derive(Debug)]
struct Slot {
    /// What was asked for; differs from `bound` when the port was 0.
    asked: SocketAddr,
    bound: SocketAddr,
    socket: TcpListener,
    lent: AtomicBool,
}

impl Listeners {
    /// Lends the socket of an endpoint: the one that is already open and free, else a new one. Of a name with several addresses
    /// (`localhost`), the first that can be bound is taken, IPv4 before IPv6; `:9464` is all addresses, IPv6 and IPv4.
    ///
    /// # Errors
    /// When the endpoint is not `host:port`, is lent already, or cannot be bound.
    pub async fn lend(&self, endpoint: &str) -> Result<Lent, Fault> {
        let fault = |source: Error| Fault::new(format!("cannot listen on {endpoint}")).caused_by(source);
        let parsed: Endpoint = endpoint.parse().map_err(|error: String| fault(Error::other(error)))?;
        let mut last = Error::other("the name has no address");
        for address in parsed.addresses().await.map_err(fault)? {
            match self.lend_address(address) {
                Ok(lent) => return Ok(lent),
                Err(error) => last = error,
            }
        }
        Err(fault(last))
    }

    /// Closes the sockets that nobody has: after a reload, those that the new configuration does not name. Says how many.
    pub fn close_unlent(&self) -> usize {
        let mut slots = self.slots();
        let before = slots.len();
        slots.retain(|slot| slot.is_lent());
        before - slots.len()
    }

    fn lend_address(&self, address: SocketAddr) -> std::io::Result<Lent> {
        let mut slots = self.slots();
        for slot in slots.iter().filter(|slot| slot.serves(address)) {
            if let Some(lent) = slot.borrow() {
                return Ok(lent);
            }
            if address.port() != 0 {
                return Err(Error::new(ErrorKind::AddrInUse, "another component listens there"));
            }
        }
        let socket = bind(address).or_else(|error| {
            // A free socket of ours may be in the way, when `0.0.0.0:80` becomes `127.0.0.1:80`.
            let before = slots.len();
            slots.retain(|slot| slot.is_lent() || slot.bound.port() != address.port());
            let retry = error.kind() == ErrorKind::AddrInUse && slots.len() < before;
            if retry { bind(address) } else { Err(error) }
        })?;
        let slot = Arc::new(Slot { asked: address, bound: socket.local_addr()?, socket, lent: AtomicBool::new(true) });
        slots.push(slot.clone());
        Ok(Lent { slot })
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent {
    /// Where it listens; the real port when 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.slot.bound
    }

    pub(super) fn socket(&self) -> &TcpListener {
        &self.slot.socket
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.slot.lent.store(false, Ordering::Release);
    }
}

impl Slot {
    fn is_lent(&self) -> bool {
        self.lent.load(Ordering::Acquire)
    }

    fn serves(&self, address: SocketAddr) -> bool {
        self.asked == address || self.bound == address
    }

    fn borrow(self: &Arc<Self>) -> Option<Lent> {
        let taken = self.lent.swap(true, Ordering::AcqRel);
        (!taken).then(|| Lent { slot: self.clone() })
    }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Without it a restarted agent waits for the connections of its predecessor to leave TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn the_second_borrower_gets_the_same_socket_with_its_queue() {
        let listeners = Listeners::default();
        let lent = listeners.lend("127.0.0.1:0").await.unwrap();
        let address = lent.local_addr();
        assert!(listeners.lend(&address.to_string()).await.unwrap_err().to_string().contains("another component"));
        drop(lent);
        let _early = TcpStream::connect(address).await.unwrap();
        let again = listeners.lend("127.0.0.1:0").await.unwrap();
        assert_eq!(again.local_addr(), address);
        again.socket().accept().await.unwrap();
    }

    #[tokio::test]
    async fn localhost_takes_the_socket_of_its_address() {
        let listeners = Listeners::default();
        let first = listeners.lend("localhost:0").await.unwrap();
        let port = first.local_addr().port();
        assert!(first.local_addr().ip().is_loopback());
        drop(first);
        let again = listeners.lend(&format!("127.0.0.1:{port}")).await.unwrap();
        assert_eq!(again.local_addr().port(), port);
        assert_eq!(listeners.close_unlent(), 0);
    }

    #[tokio::test]
    async fn two_wishes_for_any_port_get_two_ports() {
        let listeners = Listeners::default();
        let one = listeners.lend("127.0.0.1:0").await.unwrap();
        let two = listeners.lend("127.0.0.1:0").await.unwrap();
        assert_ne!(one.local_addr(), two.local_addr());
    }

    #[tokio::test]
    async fn a_free_socket_does_not_stand_in_the_way_of_another_address() {
        let listeners = Listeners::default();
        let all = listeners.lend("0.0.0.0:0").await.unwrap();
        let port = all.local_addr().port();
        drop(all);
        let one = listeners.lend(&format!("127.0.0.1:{port}")).await.unwrap();
        assert_eq!(one.local_addr().to_string(), format!("127.0.0.1:{port}"));
    }

    #[tokio::test]
    async fn what_nobody_has_is_closed_when_asked() {
        let listeners = Listeners::default();
        let lent = listeners.lend("127.0.0.1:0").await.unwrap();
        let address = lent.local_addr();
        drop(lent);
        assert_eq!(listeners.close_unlent(), 1);
        TcpStream::connect(address).await.unwrap_err();
    }

    #[tokio::test]
    async fn all_addresses_include_ipv4() {
        let listeners = Listeners::default();
        let lent = listeners.lend(":0").await.unwrap();
        TcpStream::connect(("127.0.0.1", lent.local_addr().port())).await.unwrap();
    }

    #[tokio::test]
    async fn a_port_that_another_process_has_is_a_fault_that_names_it() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap().to_string();
        let fault = Listeners::default().lend(&address).await.unwrap_err().to_string();
        assert!(fault.starts_with(&format!("cannot listen on {address}: ")), "{fault}");
    }
}
