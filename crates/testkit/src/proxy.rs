use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// A network that goes wrong on demand: connections to [`address`](Proxy::address) are passed on.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: String,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    silent: bool,
    refusing: bool,
    open: Vec<TcpStream>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>, client: TcpStream) -> std::io::Result<()> {
        if self.state().refusing {
            return client.shutdown(Shutdown::Both);
        }
        let server = TcpStream::connect(&self.target)?;
        for (from, to) in [(&client, &server), (&server, &client)] {
            let (from, to, shared) = (from.try_clone()?, to.try_clone()?, Arc::clone(self));
            thread::spawn(move || shared.pass(from, to));
        }
        self.state().open.extend([client, server]);
        Ok(())
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            let mut state = self.state();
            while state.silent {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            drop(state);
            if to.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }
}

impl Proxy {
    /// To `target`, as `host:port`.
    ///
    /// # Panics
    /// When there is no free port.
    pub fn to(target: impl Into<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (state, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared {
            target: target.into(),
            state,
            changed,
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A target that is away closes the connection, as it would without us.
                let _ = accepting.accept(client);
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections stay open, and nothing passes any more, as through a firewall that has forgotten them.
    pub fn silence(&self) {
        self.shared.state().silent = true;
    }

    /// Cuts every connection; new ones are passed on.
    pub fn cut(&self) {
        for connection in self.shared.state().open.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Cuts the connection that was made last and is still open.
    pub fn cut_newest(&self) {
        let mut state = self.shared.state();
        let pair = state.open.len().saturating_sub(2);
        for connection in state.open.drain(pair..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Closes new connections at once.
    pub fn refuse(&self) {
        self.shared.state().refusing = true;
    }

    /// All is well again; what was held back goes on.
    pub fn restore(&self) {
        let mut state = self.shared.state();
        state.silent = false;
        state.refusing = false;
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.restore();
        self.cut();
    }
}
