//! Addresses as the Corefile spells them, and sockets bound to them.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpListener;

/// Connections that the kernel keeps for us between two accepts: as many as may be open.
const BACKLOG: i32 = super::serve::MAX_CONNECTIONS as i32;

/// Where to listen: `:8080` (every address, both families), `localhost:9153` (127.0.0.1), `10.0.0.1:9153`,
/// `[fd00::1]:9153`. Names other than `localhost` are refused: who serves DNS cannot wait for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListenAddress {
    /// `None` for every address of both families.
    ip: Option<IpAddr>,
    /// 0 lets the system choose.
    port: u16,
}

/// An address that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address to listen on: it is :PORT, localhost:PORT, IPv4:PORT or [IPv6]:PORT")]
pub struct ParseAddressError(String);

/// An address that cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("plugin/{plugin}: listening on {address}: {why}; {advice}")]
pub struct BindError {
    /// Who asked for it.
    plugin: &'static str,
    /// As the Corefile spells it.
    address: ListenAddress,
    /// What the system says.
    why: io::Error,
    /// What to do.
    advice: &'static str,
}

impl BindError {
    /// Whether somebody else listens there.
    pub(super) fn is_in_use(&self) -> bool {
        self.why.kind() == io::ErrorKind::AddrInUse
    }
}

impl FromStr for ListenAddress {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        let read = || {
            let (host, port) = text.rsplit_once(':')?;
            let ip = match host {
                "" => None,
                "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
                host => match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
                    // As in Go, the unspecified address of IPv6 stands for both families.
                    Some(v6) => {
                        Some(v6.parse::<Ipv6Addr>().ok()?).filter(|v6| !v6.is_unspecified()).map(IpAddr::V6)
                    }
                    None => Some(host.parse::<Ipv4Addr>().ok()?.into()),
                },
            };
            Some(Self { ip, port: port.parse().ok()? })
        };
        read().ok_or_else(|| ParseAddressError(text.to_owned()))
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            None => write!(f, ":{}", self.port),
            Some(ip) => SocketAddr::new(ip, self.port).fmt(f),
        }
    }
}

impl ListenAddress {
    /// A listening socket and its address. Errors say what to do about them.
    ///
    /// `leaving` are our own sockets that are about to be closed, with their ports: one of them may hold the address
    /// that is asked for, as when `:8080` becomes `127.0.0.1:8080`.
    pub(super) fn bind(
        &self,
        plugin: &'static str,
        leaving: &[(u16, Arc<TcpListener>)],
    ) -> Result<(TcpListener, SocketAddr), BindError> {
        let bound = self.try_bind(false).or_else(|error| {
            let leaving = leaving.iter().filter(|(port, _)| *port == self.port);
            let leaving: Vec<_> = leaving.map(|(_, socket)| SockRef::from(&**socket)).collect();
            if error.kind() != io::ErrorKind::AddrInUse || leaving.is_empty() {
                return Err(error);
            }
            // The port is shared for as long as it takes to bind: whoever else has it is still in the way.
            leaving.iter().try_for_each(|socket| socket.set_reuse_port(true))?;
            let bound = self.try_bind(true);
            leaving.iter().try_for_each(|socket| socket.set_reuse_port(false))?;
            bound
        });
        bound.map_err(|why| BindError { plugin, address: self.clone(), advice: advice(&why), why })
    }

    /// The command that names the process that listens there.
    pub(super) fn who_has_it(&self) -> String {
        format!("ss -ltnp 'sport = :{}'", self.port)
    }

    /// Whether nobody but this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        self.ip.is_some_and(|ip| ip.is_loopback())
    }

    /// Where it will be served, before that is known better.
    pub(super) fn expected(&self) -> SocketAddr {
        SocketAddr::new(self.ip.unwrap_or(Ipv6Addr::UNSPECIFIED.into()), self.port)
    }

    fn try_bind(&self, shared: bool) -> io::Result<(TcpListener, SocketAddr)> {
        match self.ip {
            Some(ip) => listen(SocketAddr::new(ip, self.port), shared),
            // Kernels booted without IPv6 have IPv4 only; any other error is the same for both.
            None => listen((Ipv6Addr::UNSPECIFIED, self.port).into(), shared).or_else(|error| {
                match error.raw_os_error() {
                    Some(NO_SUCH_FAMILY | NO_SUCH_ADDRESS) => {
                        listen((Ipv4Addr::UNSPECIFIED, self.port).into(), shared)
                    }
                    _ => Err(error),
                }
            }),
        }
    }
}

/// `EAFNOSUPPORT`: no IPv6 in this kernel.
const NO_SUCH_FAMILY: i32 = nix::errno::Errno::EAFNOSUPPORT as i32;
/// `EADDRNOTAVAIL`: IPv6 is switched off.
const NO_SUCH_ADDRESS: i32 = nix::errno::Errno::EADDRNOTAVAIL as i32;

fn listen(address: SocketAddr, shared: bool) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of the process before us may linger. Not SO_REUSEPORT: two servers that share a port answer
    // for each other, and nobody is told.
    socket.set_reuse_address(true)?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_reuse_port(false)?;
    let listener = TcpListener::from_std(socket.into())?;
    let local = listener.local_addr()?;
    Ok((listener, local))
}

/// What to do about an error of binding.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another process listens there: stop it, or give the plugin another port",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE: add it, or take a higher port"
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this host has the address: correct it, or leave it out"
        }
        _ => "give the plugin another address",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_go_reads_them() {
        for (text, want) in [
            (":8080", ":8080"),
            ("[::]:8080", ":8080"),
            ("localhost:9153", "127.0.0.1:9153"),
            ("0.0.0.0:9253", "0.0.0.0:9253"),
            ("[fd00::1]:9253", "[fd00::1]:9253"),
            ("127.0.0.1:0", "127.0.0.1:0"),
        ] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), want, "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in
            ["", "8080", "127.0.0.1", ":", ":70000", "example.org:80", "fd00::1:80", "[fd00::1]", "[::1:80"]
        {
            let error = text.parse::<ListenAddress>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")) && error.contains("localhost:PORT"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_taken_port_says_what_to_do() {
        let (_first, local) = "127.0.0.1:0".parse::<ListenAddress>().unwrap().bind("health", &[]).unwrap();
        let error =
            local.to_string().parse::<ListenAddress>().unwrap().bind("ready", &[]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("plugin/ready: listening on {local}: ")), "{error}");
        assert!(error.ends_with("stop it, or give the plugin another port"), "{error}");
    }

    #[test]
    fn the_command_that_names_who_listens_has_the_port() {
        let address: ListenAddress = "169.254.20.10:8080".parse().unwrap();
        assert_eq!(address.who_has_it(), "ss -ltnp 'sport = :8080'");
    }

    #[tokio::test]
    async fn an_address_of_nobody_says_what_to_do() {
        // 192.0.2.0/24 is for documentation (RFC 5737): no interface has it.
        let error =
            "192.0.2.1:0".parse::<ListenAddress>().unwrap().bind("health", &[]).unwrap_err().to_string();
        assert!(error.ends_with("correct it, or leave it out"), "{error}");
    }
}
